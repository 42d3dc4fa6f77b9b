// A real OpenID provider on loopback, with one client, one user who agrees to everything, and token exchange.
import { createServer } from 'node:http'
import { exportJWK, generateKeyPair } from 'jose'
import Provider from 'oidc-provider'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

const server = createServer()
server.listen(0, '127.0.0.1', async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const { privateKey } = await generateKeyPair('RS256', { extractable: true })
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: 'shop',
        client_secret: process.env.CLIENT_SECRET,
        grant_types: ['authorization_code', 'refresh_token', 'client_credentials', EXCHANGE],
        redirect_uris: ['http://127.0.0.1/callback'],
        response_types: ['code'],
        token_endpoint_auth_method: 'client_secret_basic',
      },
    ],
    jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'RS256', use: 'sig', kid: 'provider-1' }] },
    cookies: { keys: ['a key for the cookies of this test'] },
    scopes: ['openid', 'offline_access', 'orders:read', 'orders:write'],
    ttl: {
      AccessToken: 600,
      ClientCredentials: 600,
      RefreshToken: 3600,
      IdToken: 600,
      Grant: 3600,
      Session: 3600,
      Interaction: 60,
    },
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      revocation: { enabled: true },
    },
  })

  provider.registerGrantType(
    EXCHANGE,
    async (ctx) => {
      const { client, params } = ctx.oidc
      const subject = await provider.AccessToken.find(params.subject_token)
      if (!subject) {
        ctx.status = 400
        ctx.body = { error: 'invalid_grant', error_description: 'the subject token is not known' }
      } else {
        const { accountId, grantId } = subject
        const issued = new provider.AccessToken({
          accountId,
          grantId,
          client,
          gty: 'exchange',
          scope: 'orders:read',
        })
        ctx.body = {
          access_token: await issued.save(),
          issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
          token_type: 'Bearer',
          expires_in: issued.expiration,
          scope: 'orders:read',
        }
      }
    },
    ['subject_token', 'subject_token_type', 'scope'],
  )

  provider.on('server_error', (_, error) => console.error(error))
  const answer = provider.callback()
  server.on('request', async (request, response) => {
    if (!request.url.startsWith('/interaction/')) return answer(request, response)
    const { params } = await provider.interactionDetails(request, response)
    const grant = new provider.Grant({ accountId: 'alice', clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    const login = { accountId: 'alice' }
    return provider.interactionFinished(request, response, {
      login,
      consent: { grantId: await grant.save() },
    })
  })
  console.log(`listening on ${issuer}`)
})
