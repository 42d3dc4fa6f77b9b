const serve = require('./routes.cjs')

require('./casbin.routes.cjs')(require('casbin'), true).then(serve)
