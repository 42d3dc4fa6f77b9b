const serve = require('./routes.cjs')

serve(require('./casl.routes.cjs')(require('@casl/ability')))
