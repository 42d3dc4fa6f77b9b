/** A store of OpenFGA with a model and tuples, for the tests of its own API and of its AuthZEN endpoints. */
import type { PolicyServer } from './servers.ts'

export interface Store {
  readonly id: string
  /** Authorization models: `former` has readers, `model`, the latest, writers too. */
  readonly former: string
  readonly model: string
}

/** Alice reads the plan; nobody else does. */
export async function makeStore({ url }: PolicyServer): Promise<Store> {
  const post = async (path: string, body: object): Promise<Record<string, string>> => {
    const answer = await fetch(url + path, { method: 'POST', body: JSON.stringify(body) })
    if (!answer.ok) throw new Error(`${path}: ${await answer.text()}`)
    return (await answer.json()) as Record<string, string>
  }
  const model = (...relations: string[]) => ({
    schema_version: '1.1',
    type_definitions: [
      { type: 'user' },
      {
        type: 'document',
        relations: Object.fromEntries(relations.map((name) => [name, { this: {} }])),
        metadata: {
          relations: Object.fromEntries(
            relations.map((name) => [name, { directly_related_user_types: [{ type: 'user' }] }]),
          ),
        },
      },
    ],
  })
  const { id } = await post('/stores', { name: 'documents' })
  const models = `/stores/${id}/authorization-models`
  const { authorization_model_id: former } = await post(models, model('reader'))
  const { authorization_model_id: latest } = await post(models, model('reader', 'writer'))
  const tuple = { user: 'user:alice', relation: 'reader', object: 'document:plan' }
  await post(`/stores/${id}/write`, { writes: { tuple_keys: [tuple] } })
  return { id: id!, former: former!, model: latest! }
}
