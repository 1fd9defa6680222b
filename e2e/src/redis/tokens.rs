//! Tokens of oauth2 in Redis: what one gateway gives out, all of them know, and of many who come with the same code or
//! refresh token at once, one gets a token.

use super::server::Server;
use super::topologies::three_masters;
use super::{Client, Lab, eventually, expect, told};
use crate::gateway::Gateway;
use crate::message::Message;
use serde_json::Value;
use std::collections::BTreeMap;
use std::thread;

const SHOP: &str = "client_id=shop&client_secret=s3cret";
/// Who come at once with the same code.
const THIEVES: usize = 12;
/// Codes that they come with, one after the other.
const ROUNDS: usize = 10;

/// A gateway whose tokens are in the Redis that `redis` names.
fn gateway(lab: &Lab, name: &str, redis: &str, more: &str) -> Result<Gateway, String> {
    let text = format!(
        "_format_version: \"3.0\"\n\
         services:\n- {{name: orders, url: \"http://127.0.0.1:1\", routes: [{{name: orders, paths: [/orders]}}]}}\n\
         plugins:\n\
         - {{name: request-termination, config: {{status_code: 200}}}}\n\
         - {{name: oauth2, config: {{enable_authorization_code: true, enable_client_credentials: true, provision_key: pk, \
         accept_http_if_already_terminated: true, token_storage: redis, redis: {{{redis}}}, {more}}}}}\n\
         consumers:\n- username: ada\n  oauth2_credentials:\n  \
         - {{name: shop, client_id: shop, client_secret: s3cret, redirect_uris: [\"https://shop.test/back\"]}}\n\
         - username: nobody\n"
    );
    lab.start(name, &text, &[("KONG_TRUSTED_IPS", "127.0.0.1")])
}

fn two_gateways(lab: &Lab, redis: &Server, more: &str) -> Result<[Gateway; 2], String> {
    let server = format!("port: {}", redis.port);
    Ok([gateway(lab, "one.yml", &server, more)?, gateway(lab, "other.yml", &server, more)?])
}

fn member(message: &Message, name: &str) -> Result<String, String> {
    let body: Value =
        serde_json::from_slice(&message.body).map_err(|error| format!("{error}: {}", message.text()))?;
    body[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name}: {body}"))
}

fn code(client: &mut Client) -> Result<String, String> {
    let form = "provision_key=pk&authenticated_userid=u1&client_id=shop&response_type=code";
    let uri = member(&client.post("orders/oauth2/authorize", form)?, "redirect_uri")?;
    let (_, code) = uri.split_once("code=").ok_or(format!("no code: {uri}"))?;
    Ok(code.to_owned())
}

fn redeem(client: &mut Client, code: &str) -> Result<Message, String> {
    client.post("orders/oauth2/token", &format!("grant_type=authorization_code&code={code}&{SHOP}"))
}

fn refresh(client: &mut Client, token: &str) -> Result<Message, String> {
    client.post("orders/oauth2/token", &format!("grant_type=refresh_token&refresh_token={token}&{SHOP}"))
}

fn call(client: &mut Client, token: &str) -> Result<u16, String> {
    Ok(client.ask("orders", &format!("Authorization: Bearer {token}"))?.status())
}

/// A code of one gateway is redeemed at the other, and so on through the life of a consent.
pub(super) fn of_two_gateways(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let [one, other] = two_gateways(lab, &redis, "anonymous: null")?;
    told(&one, told(&other, life_of_a_consent(&redis, &one, &other)))
}

fn life_of_a_consent(redis: &Server, one: &Gateway, other: &Gateway) -> Result<(), String> {
    let (mut here, mut there) = (Client::of(one)?, Client::of(other)?);
    let code = code(&mut here)?;
    let first = redeem(&mut there, &code)?;
    expect("a code of another gateway", first.status(), 200)?;
    let access = member(&first, "access_token")?;
    let first_refresh = member(&first, "refresh_token")?;
    expect("its token, here and there", [call(&mut here, &access)?, call(&mut there, &access)?], [200, 200])?;
    expect("another text of the same consent", call(&mut here, &first_refresh)?, 401)?;
    in_redis(redis, &[&code, &access, &first_refresh])?;

    let second = refresh(&mut here, &first_refresh)?;
    expect("a refresh token of another gateway", second.status(), 200)?;
    let (newer, second_refresh) = (member(&second, "access_token")?, member(&second, "refresh_token")?);
    let standing = |here: &mut Client, there: &mut Client, token: &str| -> Result<[u16; 2], String> {
        Ok([call(here, token)?, call(there, token)?])
    };
    expect("the token that was replaced", standing(&mut here, &mut there, &access)?, [401, 401])?;
    expect("the one in its place", standing(&mut here, &mut there, &newer)?, [200, 200])?;
    in_redis(redis, &[&newer, &second_refresh])?;
    expect("a copy of the refresh token", refresh(&mut there, &first_refresh)?.status(), 400)?;
    expect("has revoked what came of it", standing(&mut here, &mut there, &newer)?, [401, 401])?;
    expect("and its refresh token", refresh(&mut here, &second_refresh)?.status(), 400)?;

    let form = format!("grant_type=client_credentials&{SHOP}");
    let token = member(&here.post("orders/oauth2/token", &form)?, "access_token")?;
    expect("a token without a code", standing(&mut here, &mut there, &token)?, [200, 200])?;
    let admin = |gateway: &Gateway, method: &str| -> Result<u16, String> {
        let address = gateway.addresses.admin.ok_or("no Admin API")?;
        let mut admin = Client::at(address)?;
        Ok(admin.send(method, &format!("oauth2_tokens/{token}"))?.status())
    };
    expect("it is shown", [admin(one, "GET")?, admin(other, "GET")?], [200, 200])?;
    expect("and revoked by hand", admin(other, "DELETE")?, 204)?;
    expect("for all", standing(&mut here, &mut there, &token)?, [401, 401])?;
    expect("there is none", admin(one, "DELETE")?, 404)
}

/// What Redis has says nothing of these texts, and ends by itself.
fn in_redis(redis: &Server, texts: &[&str]) -> Result<(), String> {
    let keys = redis.ask(&["KEYS", "*"])?;
    for key in &keys {
        let command = if key.ends_with(":token") { "GET" } else { "HGETALL" };
        let known = format!("{key} {}", redis.ask(&[command, key])?.join(" "));
        // Not even the part that all texts of a consent begin with, as it stands there.
        if let Some(text) = texts.iter().find(|text| known.contains(&text[..10])) {
            return Err(format!("Redis has {text} in the clear: {known}"));
        }
        let left: i64 = redis.ask(&["TTL", key])?.concat().parse().map_err(|_| "no time to live")?;
        let longest = if key.ends_with(":token") { 7_201 } else { 1_209_600 };
        if !(1..=longest).contains(&left) {
            return Err(format!("{key} lives for {left} s"));
        }
    }
    expect("a consent and its token", keys.len(), 2)
}

/// Of many who redeem a code at two gateways at once, one gets a token, and it is good no more; of many who use a refresh
/// token at once, one gets a token.
pub(super) fn asked_for_at_once(lab: &Lab) -> Result<(), String> {
    let redis = Server::start(lab.folder(), "")?;
    let gateways = two_gateways(lab, &redis, "anonymous: null")?;
    let mut client = Client::of(&gateways[0])?;
    for _ in 0..ROUNDS {
        let text = code(&mut client)?;
        let got = at_once(&gateways, |client| redeem(client, &text))?;
        expect("tokens for a code", got.len(), 1)?;
        for message in &got {
            let (access, refreshing) = (member(message, "access_token")?, member(message, "refresh_token")?);
            expect("it is revoked", call(&mut client, &access)?, 401)?;
            expect("and cannot be refreshed", refresh(&mut client, &refreshing)?.status(), 400)?;
        }
        let text = code(&mut client)?;
        let text = member(&redeem(&mut client, &text)?, "refresh_token")?;
        expect("tokens for a refresh token", at_once(&gateways, |client| refresh(client, &text))?.len(), 1)?;
    }
    Ok(())
}

/// The answers with a token among those that many get at once.
fn at_once(
    gateways: &[Gateway; 2],
    ask: impl Fn(&mut Client) -> Result<Message, String> + Sync,
) -> Result<Vec<Message>, String> {
    let answers: Result<Vec<Message>, String> = thread::scope(|scope| {
        let thieves: Vec<_> = (0..THIEVES)
            .map(|number| {
                let ask = &ask;
                scope.spawn(move || ask(&mut Client::of(&gateways[number % 2])?))
            })
            .collect();
        thieves.into_iter().map(|thief| thief.join().unwrap_or(Err("it panicked".to_owned()))).collect()
    });
    let answers = answers?;
    let mut others = BTreeMap::new();
    answers.iter().filter(|answer| answer.status() != 200).for_each(|answer| {
        *others.entry(answer.status()).or_insert(0) += 1;
    });
    // Who is too late, and who sees that somebody else was faster.
    match others.keys().all(|status| [400, 503].contains(status)) {
        true => Ok(answers.into_iter().filter(|answer| answer.status() == 200).collect()),
        false => Err(format!("unexpected answers: {others:?}")),
    }
}

/// While Redis does not answer nobody gets in with a token, not even as somebody else, and none is given out.
pub(super) fn without_redis(lab: &Lab) -> Result<(), String> {
    let mut redis = Server::start(lab.folder(), "")?;
    let server = format!("port: {}, read_timeout: 500, send_timeout: 500, connect_timeout: 500", redis.port);
    let gateway = gateway(lab, "kong.yml", &server, "anonymous: nobody")?;
    let outcome = (|| {
        let mut client = Client::of(&gateway)?;
        let code = code(&mut client)?;
        let tokens = redeem(&mut client, &code)?;
        let (access, refreshing) = (member(&tokens, "access_token")?, member(&tokens, "refresh_token")?);
        expect("a good token", call(&mut client, &access)?, 200)?;
        redis.signal("STOP")?;
        expect("while it is frozen", call(&mut client, &access)?, 503)?;
        expect("a refresh token", refresh(&mut client, &refreshing)?.status(), 503)?;
        expect("nobody's request", client.get("orders")?, 200)?;
        redis.signal("CONT")?;
        eventually(|| expect("afterwards", call(&mut client, &access)?, 200))?;
        redis.kill();
        expect("while it is dead", call(&mut client, &access)?, 503)?;
        let form = format!("grant_type=client_credentials&{SHOP}");
        let refused = client.post("orders/oauth2/token", &form)?;
        expect("a new token", refused.status(), 503)?;
        expect("why", member(&refused, "error")?, "temporarily_unavailable".to_owned())?;
        let form = "provision_key=pk&authenticated_userid=u1&client_id=shop&response_type=code";
        expect("a new code", client.post("orders/oauth2/authorize", form)?.status(), 503)?;
        let _fresh = Server::start_at(lab.folder(), redis.port, "")?;
        eventually(|| {
            expect("an empty one knows no token", refresh(&mut client, &refreshing)?.status(), 400)
        })?;
        let text = self::code(&mut client)?;
        expect("and gets others", redeem(&mut client, &text)?.status(), 200)
    })();
    told(&gateway, outcome)
}

/// Two gateways reach the server by its Unix socket, and by nothing else.
pub(super) fn by_a_unix_socket(lab: &Lab) -> Result<(), String> {
    let socket = lab.folder().join("redis.sock");
    let redis = Server::start(lab.folder(), &format!("unixsocket {}\nunixsocketperm 700", socket.display()))?;
    let way = format!("socket: {}", socket.display());
    let [one, other] = [
        gateway(lab, "one.yml", &way, "anonymous: null")?,
        gateway(lab, "other.yml", &way, "anonymous: null")?,
    ];
    told(&one, told(&other, life_of_a_consent(&redis, &one, &other)))
}

/// Each consent is whole on one node, and they are on all of them.
pub(super) fn in_a_cluster(lab: &Lab) -> Result<(), String> {
    let nodes = three_masters(lab)?;
    let server = format!("cluster_nodes: [{{ip: 127.0.0.1, port: {}}}]", nodes[1].port);
    let gateway = gateway(lab, "kong.yml", &server, "reuse_refresh_token: true")?;
    let outcome = (|| {
        let mut client = Client::of(&gateway)?;
        for _ in 0..20 {
            let text = code(&mut client)?;
            let first = redeem(&mut client, &text)?;
            let text = member(&first, "refresh_token")?;
            let second = refresh(&mut client, &text)?;
            expect("the refresh token stays", member(&second, "refresh_token")?, text)?;
            let tokens = [member(&first, "access_token")?, member(&second, "access_token")?];
            expect("tokens", tokens.map(|token| call(&mut client, &token)), [Ok(401), Ok(200)])?;
        }
        for node in &nodes {
            if node.ask(&["DBSIZE"])?.first().is_none_or(|size| size == "0") {
                return Err("a node of the cluster has no tokens".to_owned());
            }
        }
        Ok(())
    })();
    told(&gateway, outcome)
}
