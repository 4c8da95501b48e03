//! Who somebody is, in a cookie that is signed.

use axum::Form;
use axum::http::StatusCode;
use axum_extra::extract::SignedCookieJar;
use axum_extra::extract::cookie::{Cookie, SameSite};
use serde::Deserialize;

const NAME: &str = "name";

#[derive(Deserialize)]
pub(crate) struct Login {
    name: String,
}

pub(crate) async fn login(jar: SignedCookieJar, Form(Login { name }): Form<Login>) -> (SignedCookieJar, String) {
    let hello = format!("Hello, {name}.");
    let cookie = Cookie::build((NAME, name)).http_only(true).same_site(SameSite::Lax);
    (jar.add(cookie), hello)
}

pub(crate) async fn me(jar: SignedCookieJar) -> Result<String, StatusCode> {
    let cookie = jar.get(NAME).ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(cookie.value().to_owned())
}

pub(crate) async fn logout(jar: SignedCookieJar) -> (SignedCookieJar, &'static str) {
    (jar.remove(NAME), "Bye.")
}
