// As CommonJS.
const serve = require('./openid-client.routes.cjs')

serve(require('openid-client'))
