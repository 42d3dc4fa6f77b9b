// The routes of the services that verify tokens with jose. They know nothing of tracing.
const { generateKeyPairSync } = require('node:crypto')
const { createServer } = require('node:http')

module.exports = function serve(jose, jwtVerify) {
  const key = new TextEncoder().encode(process.env.JWT_KEY)
  const wanted = { audience: 'orders', issuer: 'https://login.example.com', algorithms: ['HS256'] }
  const nobody = jose.createRemoteJWKSet(new URL('http://127.0.0.1:1/keys'))
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const known = jose.createLocalJWKSet({
    keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'key-1' }],
  })
  const parts = (token) => {
    const [protected, payload, signature] = token.split('.')
    return { protected, payload, signature }
  }
  const selfSigned = async (sub) => {
    const { publicKey, privateKey } = await jose.generateKeyPair('ES256')
    const header = { alg: 'ES256', jwk: await jose.exportJWK(publicKey) }
    const token = await new jose.SignJWT({ sub }).setProtectedHeader(header).sign(privateKey)
    return { token, publicKey }
  }
  const routes = {
    '/': async (token) => (await jose.jwtVerify(token, key, wanted)).payload.sub,
    '/reused': async (token) => {
      const bytes = new TextEncoder().encode(token)
      const verified = jose.jwtVerify(bytes, key, wanted)
      bytes.fill(0)
      return (await verified).payload.sub
    },
    '/file': async (token) => (await jwtVerify(token, key, wanted)).payload.sub,
    '/typed': async (token) => (await jose.jwtVerify(token, key, { typ: 'at+jwt' })).payload.sub,
    '/recent': async (token) => (await jose.jwtVerify(token, key, { maxTokenAge: '5m' })).payload.sub,
    '/known': async (token) => (await jose.jwtVerify(token, known)).payload.sub,
    '/unreachable': async (token) => (await jose.jwtVerify(token, nobody)).payload.sub,
    '/misused': async (token) => (await jose.jwtVerify(token, 'a text is no key')).payload.sub,
    '/compact': async (token) => String((await jose.compactVerify(token, key)).payload.length),
    '/flattened': async (token) => String((await jose.flattenedVerify(parts(token), key)).payload.length),
    '/flattened-reused': async (token) => {
      const jws = parts(token)
      const verified = jose.flattenedVerify(jws, key)
      jws.payload = 'e30'
      return String((await verified).payload.length)
    },
    '/general': async (token) => {
      const { payload, ...signature } = parts(token)
      return String((await jose.generalVerify({ payload, signatures: [signature] }, key)).payload.length)
    },
    '/encrypted': async () => {
      const claims = { sub: 'alice', iss: wanted.issuer }
      const token = await new jose.EncryptJWT(claims)
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
        .encrypt(key)
      return (await jose.jwtDecrypt(token, key)).payload.sub
    },
    '/encrypted-to-us': async () => {
      const pair = await jose.generateKeyPair('ECDH-ES')
      const header = { alg: 'ECDH-ES', enc: 'A256GCM' }
      const token = await new jose.EncryptJWT({ sub: 'mallory' })
        .setProtectedHeader(header)
        .encrypt(pair.publicKey)
      return (await jose.jwtDecrypt(token, pair.privateKey)).payload.sub
    },
    '/self-signed': async () => {
      const { token } = await selfSigned('mallory')
      return (await jose.jwtVerify(token, jose.EmbeddedJWK)).payload.sub
    },
    '/embedded': async () => {
      const { token, publicKey } = await selfSigned('alice')
      await jose.jwtVerify(token, publicKey)
      await jose.jwtVerify(token, jose.EmbeddedJWK)
      return (await jose.jwtVerify(token, publicKey)).payload.sub
    },
    '/proof': async () => {
      const { publicKey, privateKey } = await jose.generateKeyPair('ES256')
      const header = { alg: 'ES256', typ: 'dpop+jwt', jwk: await jose.exportJWK(publicKey) }
      const proof = await new jose.SignJWT({ htm: 'GET', jti: 'proof-1' })
        .setProtectedHeader(header)
        .sign(privateKey)
      return (await jose.jwtVerify(proof, jose.EmbeddedJWK, { typ: 'dpop+jwt' })).payload.jti
    },
  }
  const server = createServer(async (request, response) => {
    const token = (request.headers.authorization ?? '').replace(/^Bearer /, '')
    try {
      response.end(await routes[request.url](token))
    } catch (error) {
      response.writeHead(401).end(error.code ?? error.name)
    }
  })
  server.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`))
}
