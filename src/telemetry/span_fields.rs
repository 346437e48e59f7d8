//! The fields of a span in a log of JSON lines.
//!
//! Every request opens a span, and few write a line in it. So its fields are written straight into the text that lines
//! will repeat; the subscriber's own way puts a map of JSON values together first.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Room for the id of a request, which is all that most spans have.
const USUAL_BYTES: usize = 64;

/// Writes the fields of a span as a JSON object of texts.
pub(super) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut object = Object(String::with_capacity(USUAL_BYTES));
        fields.record(&mut object);
        writer.write_char('{')?;
        writer.write_str(&object.0)?;
        writer.write_char('}')
    }
}

/// The inside of a JSON object.
struct Object(String);

/// Whether a byte stands for itself in a JSON text.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'
}

impl Visit for Object {
    fn record_str(&mut self, field: &Field, value: &str) {
        let text = &mut self.0;
        text.push_str(if text.is_empty() { "\"" } else { ",\"" });
        text.push_str(field.name());
        text.push_str("\":");
        if value.bytes().all(is_plain) {
            text.push('"');
            text.push_str(value);
            text.push('"');
        } else {
            // Writing into a text cannot fail.
            let _ = write!(text, "{}", serde_json::Value::from(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_inside_a_span_is_json_with_the_fields_of_the_span() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .json()
            .flatten_event(true)
            .fmt_fields(SpanFields)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _inside =
                tracing::error_span!("request", request_id = "a\"b", number = 7).entered();
            tracing::error!("something happened");
        });
        let line = lines.0.lock().unwrap();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(line["message"], "something happened");
        assert_eq!(line["span"]["request_id"], "a\"b");
        assert_eq!(line["span"]["number"], "7");
    }
}
