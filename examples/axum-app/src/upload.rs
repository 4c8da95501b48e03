//! Files that a form sends, read piece by piece: none of them is ever in memory as a whole.

use axum::Json;
use axum::extract::Multipart;
use axum::extract::multipart::MultipartError;
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Received {
    name: String,
    bytes: usize,
}

pub(crate) async fn upload(mut form: Multipart) -> Result<Json<Vec<Received>>, MultipartError> {
    let mut files = Vec::new();
    while let Some(mut field) = form.next_field().await? {
        let name = field.file_name().unwrap_or_default().to_owned();
        let mut bytes = 0;
        while let Some(piece) = field.chunk().await? {
            bytes += piece.len();
        }
        files.push(Received { name, bytes });
    }
    Ok(Json(files))
}
