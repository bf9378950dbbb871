// All attachments into a folder, from a gateway that the test plays: no name and no link leads out of the folder.
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { restoreAttachments } from '../../../agent/commands/restore-attachments.ts'
import type { CommandContext } from '../../../agent/commands/context.ts'
import { systemClock } from '../../../protocol/host/clock.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { asVarveError, VarveError } from '../../../protocol/errors.ts'
import { nodeKey, TreeBuilder, type Ref } from '../../../protocol/image-tree.ts'
import { LOAD } from '../../../protocol/methods.ts'
import type { Peer } from '../../../protocol/peer.ts'
import type { Point } from '../../../protocol/schemas.ts'
import { chunksMessage, wireChunk } from '../../protocol/wire-chunks.ts'
import { tempFolder, type TempFolder } from '../../support/temp.ts'
import { peerPair } from '../session/peer-pair.ts'

const CHUNK = 4096
const idKey = new Uint8Array(32).fill(5)

/** The root of a file of one chunk, or none. */
const rootOf = (content: Buffer): Ref => {
  const chunks = content.length === 0 ? 0 : 1
  const tree = new TreeBuilder({ chunks, hash: keyedHash, nodeKey: nodeKey(keyedHash, idKey), onNode: () => undefined })
  if (chunks > 0) tree.place(0, keyedHash(idKey, content))
  return tree.finish()
}

interface Bench {
  readonly context: CommandContext
  readonly point: Point
}

const bench = (temp: TempFolder, files: Readonly<Record<string, string>>): Bench => {
  const contents = new Map(Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]))
  const attachments = [...contents].map(([name, content]) => ({ name, size: content.length, root: rootOf(content) }))
  const repeat = async <R>(work: (peer: Peer) => Promise<R>): Promise<R> => {
    const pair = peerPair(
      {
        'image.download': async ({ disk }, { send }) => {
          const content = contents.get(disk)!
          await send([
            LOAD.start,
            { size: content.length, chunkBytes: CHUNK, root: rootOf(content), idKey, position: 0 },
          ])
          if (content.length > 0) await send(chunksMessage(LOAD.chunks, wireChunk(keyedHash(idKey, content), content)))
          return {}
        },
      },
      systemClock,
    )
    try {
      return await work(pair.agent)
    } finally {
      pair.agent.close(new VarveError('CANCELLED', 'done'))
    }
  }
  const context = {
    config: { state: temp.join('state'), machines: [] },
    link: { repeat },
    signal: new AbortController().signal,
    progress: { show: () => undefined, clear: () => undefined },
  } as unknown as CommandContext
  const id = '0192aaaa-0000-4000-8000-0000c0ffee42'
  return { context, point: { id, machine: 'db1', timeMs: 0, disks: [], attachments } as unknown as Point }
}

const restore = async ({ context, point }: Bench, folder: string, force = false): Promise<string> => {
  try {
    await restoreAttachments(context, point, [], { folder, force, skipDamaged: false, json: true })
    return 'done'
  } catch (thrown) {
    return asVarveError(thrown).code
  }
}

test('files of any depth come back, empty ones too, and only with force a second time', async () => {
  await using temp = await tempFolder()
  await mkdir(temp.join('state'))
  const made = bench(temp, { 'domain.xml': '<domain/>', 'file:/etc/a/b': 'deep', empty: '' })
  const out = temp.join('out', 'here')
  expect(await restore(made, out)).toBe('done')
  expect(await readFile(temp.join('out', 'here', 'file:', 'etc', 'a', 'b'), 'utf8')).toBe('deep')
  expect(await readFile(temp.join('out', 'here', 'empty'), 'utf8')).toBe('')
  expect(await restore(made, out)).toBe('TARGET_EXISTS')
  await writeFile(temp.join('out', 'here', 'domain.xml'), 'spoiled')
  expect(await restore(made, out, true)).toBe('done')
  expect(await readFile(temp.join('out', 'here', 'domain.xml'), 'utf8')).toBe('<domain/>')
})

test('a gateway that names a way out is refused before anything is written', async () => {
  for (const name of ['../out', '/etc/out', 'a/../../out', '..', 'a//b', 'a\\..\\b', 'a\0b']) {
    await using temp = await tempFolder()
    await mkdir(temp.join('state'))
    expect([name, await restore(bench(temp, { good: 'x', [name]: 'evil' }), temp.join('in', 'folder'), true)]).toEqual([
      name,
      'DATA_DAMAGED',
    ])
    expect(await readdir(temp.join('in', 'folder'))).toEqual([])
    expect((await readdir(temp.path)).toSorted()).toEqual(['in', 'state'])
  }
})

test('links in the folder, and files where folders must be, lead nowhere', async () => {
  await using temp = await tempFolder()
  for (const folder of ['state', 'out', 'elsewhere']) await mkdir(temp.join(folder))
  await writeFile(temp.join('elsewhere', 'victim'), 'untouched')
  await symlink('../elsewhere', temp.join('out', 'sub'))
  await symlink('../elsewhere/victim', temp.join('out', 'file'))
  await writeFile(temp.join('out', 'flat'), 'a file')
  for (const name of ['sub/victim', 'sub/new', 'file', 'flat/below'])
    for (const force of [false, true])
      expect([name, force, await restore(bench(temp, { [name]: 'evil' }), temp.join('out'), force)]).toEqual([
        name,
        force,
        name === 'sub/victim' && !force ? 'TARGET_EXISTS' : 'TARGET_INVALID',
      ])
  expect(await readdir(temp.join('elsewhere'))).toEqual(['victim'])
  expect(await readFile(temp.join('elsewhere', 'victim'), 'utf8')).toBe('untouched')
})
