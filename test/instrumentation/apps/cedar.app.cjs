const serve = require('./routes.cjs')

serve(require('./cedar.routes.cjs')(require('@cedar-policy/cedar-wasm/nodejs')))
