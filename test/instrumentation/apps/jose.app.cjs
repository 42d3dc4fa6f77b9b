// As CommonJS. JOSE names an older copy, by the package that brings it.
const { createRequire } = require('node:module')
const serve = require('./jose.routes.cjs')

const { JOSE: owner } = process.env
if (owner === undefined) serve(require('jose'), require('jose/jwt/verify').jwtVerify)
else {
  const jose = createRequire(require.resolve(owner))('jose')
  serve(jose, jose.jwtVerify)
}
