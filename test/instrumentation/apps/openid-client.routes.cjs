// The routes of the services that use openid-client. They know nothing of tracing.
const { createServer } = require('node:http')

module.exports = async function serve(client) {
  const { CLIENT_SECRET, ISSUER } = process.env
  const insecure = { execute: [client.allowInsecureRequests] }
  const discover = (id, secret) =>
    client.discovery(new URL(ISSUER), id, undefined, client.ClientSecretBasic(secret), insecure)
  const metadata = { issuer: 'http://127.0.0.1:1', token_endpoint: 'http://127.0.0.1:1/token' }
  const gone = new client.Configuration(
    {
      ...metadata,
      introspection_endpoint: metadata.token_endpoint,
      revocation_endpoint: metadata.token_endpoint,
    },
    'shop',
    CLIENT_SECRET,
  )
  client.allowInsecureRequests(gone)
  const configurations = {
    shop: await discover('shop', CLIENT_SECRET),
    impostor: await discover('shop', 'a-wrong-client-secret'),
    gone,
  }
  const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange'
  const type = 'urn:ietf:params:oauth:token-type:access_token'
  const calls = {
    start: (config, checks) => ({
      url: client.buildAuthorizationUrl(config, {
        redirect_uri: 'http://127.0.0.1/callback',
        scope: 'openid offline_access orders:read orders:write',
        prompt: 'consent',
        state: checks.expectedState,
        nonce: checks.expectedNonce,
      }).href,
    }),
    code: (config, { url, ...checks }) => client.authorizationCodeGrant(config, new URL(url), checks),
    service: (config) => client.clientCredentialsGrant(config, { scope: 'orders:read' }),
    refresh: (config, { token }) => client.refreshTokenGrant(config, token),
    exchange: (config, { token }) => {
      const parameters = { subject_token: token, subject_token_type: type }
      const answer = client.genericGrantRequest(config, exchange, parameters)
      // What is recorded is what was asked.
      parameters.subject_token = 'none'
      return answer
    },
    introspect: (config, { token }) => client.tokenIntrospection(config, token),
    revoke: async (config, { token }) => (await client.tokenRevocation(config, token)) ?? {},
    buy: async (config) => {
      await client.clientCredentialsGrant(config)
      const paid = await fetch(`${origin}/payments`, { method: 'POST' })
      return { paid: paid.status }
    },
  }

  let origin
  const server = createServer(async (request, response) => {
    if (request.url === '/payments') return response.end()
    const [, who, call] = request.url.split('/')
    try {
      let sent = ''
      for await (const part of request.setEncoding('utf8')) sent += part
      response.end(JSON.stringify(await calls[call](configurations[who], JSON.parse(sent || '{}'))))
    } catch (error) {
      response.writeHead(502).end(error.name)
    }
  })
  server.listen(0, '127.0.0.1', () => {
    origin = `http://127.0.0.1:${server.address().port}`
    console.log(`listening on ${origin}`)
  })
}
