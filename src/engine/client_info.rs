//! Reads the clients in the reply of `CLIENT LIST`.

/// One client of the server, as `CLIENT LIST` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// All fields, in the server's order. `name` is the name of the queue, `rawname` that of the client.
    pub fields: Vec<(String, String)>,
}

impl serde::Serialize for ClientInfo {
    /// Writes the fields by their names, as BullMQ's `getWorkers` returns them.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::wire::json::as_map(&self.fields, serializer)
    }
}

impl ClientInfo {
    /// Returns the value of one field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }
}

/// Reads one line of `CLIENT LIST`; `None` if its name is not one of ours.
pub(super) fn read(line: &str, queue: &str, is_ours: impl Fn(&str) -> bool) -> Option<ClientInfo> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut raw = None;
    for field in line.split_ascii_whitespace() {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        if name == "name" {
            raw = Some(value.to_owned()).filter(|value| is_ours(value));
            fields.push((name.to_owned(), queue.to_owned()));
        } else {
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    fields.push(("rawname".to_owned(), raw?));
    Some(ClientInfo { fields })
}
