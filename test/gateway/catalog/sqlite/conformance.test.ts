// The catalog in SQLite, on its thread as a gateway has it and in the caller's as commands do, does what every engine must.
import { openLocal, openThread } from '../../../../gateway/catalog/sqlite/database.ts'
import { tempFolder } from '../../../support/temp.ts'
import { catalogSuite, type Engine } from '../catalog-suite.ts'

const inFolder = async (open: (file: string) => Promise<Pick<Engine, 'catalog'> & (Disposable | AsyncDisposable)>) => {
  await using stack = new AsyncDisposableStack()
  const temp = stack.use(await tempFolder())
  const { catalog } = stack.use(await open(temp.join('catalog.db')))
  const held = stack.move()
  return { catalog, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

catalogSuite('SQLite on its thread', () =>
  inFolder(async (file) => {
    const catalog = await openThread(file)
    return { catalog, [Symbol.asyncDispose]: () => catalog[Symbol.asyncDispose]() }
  }),
)

catalogSuite('SQLite in the caller’s thread', () =>
  inFolder(async (file) => {
    const catalog = openLocal(file)
    return { catalog, [Symbol.dispose]: () => catalog[Symbol.dispose]() }
  }),
)
