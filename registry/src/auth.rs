//! Tokens of one endpoint: asked for when the endpoint wants them, kept while they last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::challenge::Challenge;
use crate::error::Fault;
use crate::redirect;
use crate::session::refusal;
use crate::tls::Profile;
use crate::transport::{Payload, Transport};
use crate::{Credentials, Login, Secret};

/// A token without a stated life lives this long (distribution, token specification).
const DEFAULT_LIFE: Duration = Duration::from_secs(60);
/// The largest answer of a token server that is read.
const MAX_ANSWER: u64 = 1 << 20;

/// What a token allows: `repository:library/busybox:pull`. Sorted, so that equal wishes share a token.
pub(crate) type Scopes = BTreeSet<String>;

/// The scope of a repository.
pub(crate) fn scope(repository: &str, actions: &str) -> String {
    format!("repository:{repository}:{actions}")
}

/// Whom one endpoint is told to be, and how.
pub(crate) struct Authenticator {
    /// The registry's name in references: the key of the credentials.
    registry: String,
    /// The endpoint's address.
    base: Url,
    profile: Profile,
    credentials: Credentials,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    tokens: BTreeMap<Scopes, Token>,
    /// Refresh tokens that the token server exchanged for newer ones.
    renewed: Option<Secret>,
    /// Why the credentials could not be read: told if the registry does not serve strangers.
    trouble: Option<String>,
    /// Whether anybody was logged in.
    anonymous: bool,
}

struct Token {
    value: Secret,
    until: Instant,
}

/// The answer of a token server.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Authenticator {
    pub(crate) fn new(registry: String, base: Url, profile: Profile, credentials: Credentials) -> Self {
        Self { registry, base, profile, credentials, state: Mutex::default() }
    }

    /// What to put into the Authorization header, if the endpoint has asked for something before.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        repository: &str,
        scopes: &Scopes,
    ) -> Result<Option<HeaderValue>, Fault> {
        // Held while a token is fetched, so that parallel layers fetch it once.
        let mut state = self.state.lock().await;
        let Some(challenge) = state.challenge.clone() else { return Ok(None) };
        let login = match self.credentials.get(&self.registry, repository).await {
            Ok(login) => login,
            // A broken helper must not keep a public image from being pulled.
            Err(trouble) => {
                state.trouble = Some(trouble.to_string());
                None
            }
        };
        state.anonymous = login.is_none();
        match (challenge, login) {
            (_, Some(Login::RegistryToken(token))) => header("Bearer", token.reveal()).map(Some),
            (Challenge::Basic, Some(Login::Password { user, secret })) => basic(&user, &secret).map(Some),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service, scope }, login) => {
                let mut scopes = scopes.clone();
                // What the registry asked for, unless it is a part of what kiln asks for anyway.
                for asked in scope.iter().flat_map(|text| text.split_whitespace()) {
                    if !scopes.iter().any(|own| covers(own, asked)) {
                        scopes.insert(asked.to_owned());
                    }
                }
                if let Some(token) = state.tokens.get(&scopes)
                    && token.until > Instant::now()
                {
                    return header("Bearer", token.value.reveal()).map(Some);
                }
                let login = match (&state.renewed, login) {
                    (Some(newer), Some(Login::IdentityToken(_))) => Some(Login::IdentityToken(newer.clone())),
                    (_, login) => login,
                };
                let url = redirect::realm(&self.base, &realm, !self.profile.verify)?;
                let wish = Wish { url, service, scopes: &scopes, login: login.as_ref() };
                let mut answer = match self.ask(transport, wish).await {
                    Ok(answer) => answer,
                    Err(fault) => return Err(self.explain(fault, &state)),
                };
                if let Some(newer) = answer.refresh_token.take() {
                    state.renewed = Some(Secret::new(newer));
                }
                let value = Secret::new(answer.token.or(answer.access_token).unwrap_or_default());
                let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
                // A tenth earlier: the token has to arrive before its end.
                let until = Instant::now() + life.mul_f64(0.9).min(Duration::from_secs(24 * 3600));
                let value_header = header("Bearer", value.reveal())?;
                state.tokens.insert(scopes, Token { value, until });
                Ok(Some(value_header))
            }
        }
    }

    /// Takes note of a 401: what is asked for, and that `used` is worth nothing (any more). Says whether it is worth
    /// to try again.
    pub(crate) async fn challenged(&self, asked: Option<Challenge>, used: Option<&HeaderValue>) -> bool {
        let mut state = self.state.lock().await;
        let Some(asked) = asked else { return false };
        if let Some(used) = used {
            state.tokens.retain(|_, token| {
                header("Bearer", token.value.reveal()).is_ok_and(|refused| refused != *used)
            });
        }
        // A refused password is refused again.
        let again = used.is_none() || matches!(asked, Challenge::Bearer { .. });
        state.challenge = Some(asked);
        again
    }

    /// Whether a refused request may succeed with a newer token.
    pub(crate) async fn can_renew(&self) -> bool {
        matches!(self.state.lock().await.challenge, Some(Challenge::Bearer { .. }))
    }

    /// Adds what is known of the credentials.
    fn explain(&self, fault: Fault, state: &State) -> Fault {
        let with_trouble = |detail: String| match &state.trouble {
            Some(trouble) if detail.is_empty() => trouble.clone(),
            Some(trouble) => format!("{detail}; {trouble}"),
            None => detail,
        };
        let registry = self.registry.clone();
        let anonymous = state.anonymous || state.challenge.is_none();
        match fault {
            Fault::Unauthorized { host, detail, .. } => {
                Fault::Unauthorized { host, registry, anonymous, detail: with_trouble(detail) }
            }
            Fault::Denied { host, detail, .. } => {
                Fault::Denied { host, registry, anonymous, detail: with_trouble(detail) }
            }
            other => other,
        }
    }

    /// As [`Self::explain`], for an answer of the registry itself.
    pub(crate) async fn explained(&self, fault: Fault) -> Fault {
        let state = self.state.lock().await;
        self.explain(fault, &state)
    }

    async fn ask(&self, transport: &Transport, wish: Wish<'_>) -> Result<Answer, Fault> {
        let profile = if redirect::same_origin(&wish.url, &self.base) {
            self.profile.clone()
        } else {
            self.profile.for_stranger()
        };
        let request = wish.request(transport)?;
        let mut answer = transport.send(request, &profile).await?;
        if !answer.response.status().is_success() {
            return Err(refusal(answer, transport.options().stall_timeout).await);
        }
        let host = answer.host();
        let bytes = answer.body(MAX_ANSWER, transport.options().stall_timeout).await?;
        let malformed = |what: &str| Fault::Protocol { host: host.clone(), what: what.to_owned() };
        let answer: Answer =
            serde_json::from_slice(&bytes).map_err(|_| malformed("it is no answer of a token server"))?;
        match answer.token.as_ref().or(answer.access_token.as_ref()) {
            Some(token) if !token.is_empty() => Ok(answer),
            _ => Err(malformed("it has no token")),
        }
    }
}

/// What a token server is asked.
struct Wish<'a> {
    url: Url,
    service: Option<String>,
    scopes: &'a Scopes,
    login: Option<&'a Login>,
}

impl Wish<'_> {
    /// OAuth2 for an identity token, else distribution's GET with a password or without.
    fn request(self, transport: &Transport) -> Result<crate::transport::Request, Fault> {
        let scopes = self.scopes.iter().cloned().collect::<Vec<_>>();
        if let Some(Login::IdentityToken(token)) = self.login {
            let mut form = vec![("grant_type", "refresh_token"), ("client_id", "kiln")];
            let joined = scopes.join(" ");
            form.push(("refresh_token", token.reveal()));
            form.extend(self.service.as_deref().map(|service| ("service", service)));
            form.push(("scope", &joined));
            let mut request = transport.request(Method::POST, self.url);
            let mut encoder = Url::parse("form:").expect("a scheme is an address");
            encoder.query_pairs_mut().extend_pairs(form);
            request.body = Payload::Bytes(encoder.query().unwrap_or_default().as_bytes().to_vec());
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers.insert(CONTENT_TYPE, form_type);
            return Ok(request);
        }
        let mut url = self.url;
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &self.service {
                query.append_pair("service", service);
            }
            for scope in &scopes {
                query.append_pair("scope", scope);
            }
            if let Some(Login::Password { user, .. }) = self.login {
                query.append_pair("account", user);
            }
            query.append_pair("client_id", "kiln");
        }
        let mut request = transport.request(Method::GET, url);
        if let Some(Login::Password { user, secret }) = self.login {
            request.headers.insert(AUTHORIZATION, basic(user, secret)?);
        }
        Ok(request)
    }
}

/// Whether a token for `own` allows what `asked` wants: the same resource, no action more.
fn covers(own: &str, asked: &str) -> bool {
    let (Some((resource, actions)), Some((other, wanted))) = (own.rsplit_once(':'), asked.rsplit_once(':'))
    else {
        return false;
    };
    resource == other && wanted.split(',').all(|action| actions.split(',').any(|has| has == action))
}

fn basic(user: &str, secret: &Secret) -> Result<HeaderValue, Fault> {
    header("Basic", &STANDARD.encode(format!("{user}:{}", secret.reveal())))
}

fn header(scheme: &str, value: &str) -> Result<HeaderValue, Fault> {
    let mut header = HeaderValue::from_str(&format!("{scheme} {value}")).map_err(|_| Fault::Protocol {
        host: "the token server or credential store".to_owned(),
        what: "a token with characters that no header may have".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}
