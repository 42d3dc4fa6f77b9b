import * as casbin from 'casbin'
import routes from './casbin.routes.cjs'
import serve from './routes.cjs'

serve(await routes(casbin, false))
