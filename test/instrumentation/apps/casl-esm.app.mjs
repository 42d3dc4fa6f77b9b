import * as casl from '@casl/ability'
import routes from './casl.routes.cjs'
import serve from './routes.cjs'

serve(routes(casl))
