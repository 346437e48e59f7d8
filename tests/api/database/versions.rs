//! What a running server says when another one has upgraded its database.

use berth::http::Door;

use crate::support::TestRegistry;
use crate::support::database::TestDatabase;
use crate::support::distribution::{Login, image};

#[tokio::test]
async fn a_server_whose_schema_became_too_new_is_unready_and_says_why() {
    for database in TestDatabase::available() {
        let registry = TestRegistry::start_on(database).await;
        let ops = registry.distribution(Door::Ops, Login::Nobody);
        let docker = registry.with_key(&registry.main_key());
        registry
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'of a later version', TRUE, '', 0)",
            )
            .await;
        // Old and new go on side by side as long as the new schema lets them.
        ops.get("/readyz").await.expect(200);
        let content = image().layer("layer").build();
        docker.push_image("t-main/app", "v1", &content).await;

        registry
            .execute("UPDATE installation SET min_schema = 9999")
            .await;
        let reply = ops.get("/readyz").await.expect(503);
        let text = reply.text();
        assert!(text.contains("needs a berth that knows 9999"), "{text}");
        assert!(text.contains("start the newer berth"), "{text}");

        registry
            .execute("UPDATE installation SET min_schema = 1")
            .await;
        ops.get("/readyz").await.expect(200);
    }
}
