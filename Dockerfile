# Berth in a container; "In a container" in docs/operations.md says how to run it.
#
#   docker build --tag berth .
#   docker run --publish 5000:5000 --volume berth:/var/lib/berth berth
#
# There is neither a `syntax` line nor a cache mount in it: it needs nothing but its bases, and the classic builder, which
# Docker 20.10 still uses unless told otherwise, takes it too.

# Both bases are Debian 12: the C library a program runs with must not be older than the one it was linked with.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-bookworm
# The C library, libgcc, CA certificates and time zones; no shell, no package manager, nothing else to keep patched.
# Not `scratch`: a static glibc cannot look up names (of a PostgreSQL server, say) without loading the shared one, and
# with musl the image would run another allocator and resolver than the tests do.
ARG BASE_IMAGE=gcr.io/distroless/cc-debian12:nonroot
# The stage or the image whose /image is copied into the last one. A build that has its binary already names its own,
# and BuildKit then skips the stages that compile.
ARG BINARY=build

FROM ${BUILD_IMAGE} AS chef
WORKDIR /source
RUN cargo install cargo-chef --version 0.1.78 --locked

# The manifests without the sources, so that the next stage's first layer changes with the dependencies alone.
FROM chef AS plan
COPY . .
RUN cargo chef prepare --bin berth --recipe-path recipe.json

FROM chef AS build
COPY --from=plan /source/recipe.json .
RUN cargo chef cook --release --locked --bin berth --recipe-path recipe.json
COPY . .
RUN cargo build --release --locked --bin berth \
 && mkdir -p /image/usr/local/bin /image/var/lib/berth \
 && cp target/release/berth /image/usr/local/bin/ \
 && chmod 0700 /image/var/lib/berth

FROM ${BINARY} AS binary

FROM ${BASE_IMAGE}
COPY --from=binary /image/usr/ /usr/
# A new volume takes the owner and the mode of the folder it is mounted on.
COPY --from=binary --chown=65532:65532 /image/var/lib/ /var/lib/
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Where temporary files of the database go when /tmp cannot be written.
WORKDIR /var/lib/berth
VOLUME /var/lib/berth
# The public door, the pull door, and metrics and health. The last needs no key: publish it to no one but your monitoring.
EXPOSE 5000 5001 5009
ENTRYPOINT ["/usr/local/bin/berth"]
CMD ["serve", "--data-dir", "/var/lib/berth", "--listen", "0.0.0.0:5000", "--pull-listen", "0.0.0.0:5001", "--ops-listen", "0.0.0.0:5009"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["/usr/local/bin/berth", "health"]
# Last, since every build has others.
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Berth" \
      org.opencontainers.image.description="A self-hosted OCI registry whose credentials reach one team and no other" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
