import * as cedar from '@cedar-policy/cedar-wasm/nodejs'
import routes from './cedar.routes.cjs'
import serve from './routes.cjs'

serve(routes(cedar))
