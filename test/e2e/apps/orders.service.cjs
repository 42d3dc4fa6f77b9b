// An Express service as anybody would write it. It knows nothing of tracing; STOCK_URL says where the other one is.
const http = require('node:http')
const express = require('express')

const stock = process.env.STOCK_URL

const app = express()
app.use(express.json())

app.get('/orders/:item', async (request, response) => {
  const answer = await fetch(`${stock}/stock/${request.params.item}`)
  if (!answer.ok) return response.status(answer.status).json({ error: 'not in stock' })
  const { count } = await answer.json()
  response.json({ item: request.params.item, count })
})

app.post('/orders', (request, response, next) => {
  const reserve = http.request(`${stock}/reservations`, { method: 'POST' }, (answer) => {
    answer.resume()
    answer.on('end', () => {
      if (answer.statusCode === 201) response.status(201).json(request.body)
      else next(new Error(`stock answered ${answer.statusCode}`))
    })
  })
  reserve.on('error', next)
  reserve.end()
})

const server = app.listen(0, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})
process.on('SIGTERM', () => {
  server.close()
  server.closeAllConnections()
})
