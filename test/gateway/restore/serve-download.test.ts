// Serving an image: refused with its ranges where it is damaged, around them when told to, and kept while it is read.
import { expect, test } from 'vitest'
import { Attributions } from '../../../gateway/maintenance/attribute.ts'
import { serveDownload } from '../../../gateway/restore/serve-download.ts'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { encodeFrame, errorFrame } from '../../../protocol/frames.ts'
import { LOAD, type Down } from '../../../protocol/methods.ts'
import { Damager } from '../../support/damage.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { plainOf, splitChunks } from '../../protocol/wire-chunks.ts'
import { codeOf } from '../auth/test-authority.ts'
import { Stand, type Plains } from '../chains/script.ts'
import { CHUNK_BYTES } from '../datastore/fixture.ts'
import { collected, randomDisk, removePoints } from '../maintenance/stand.ts'
import { memoryLink } from '../memory-link.ts'

type Message = Down<'image.download'>

const serve = async (
  stand: Stand,
  point: string,
  rest: { position?: number; skipDamaged?: boolean; onlyAgent?: string; disk?: string } = {},
  onMessage: (message: Message) => Promise<void> = async () => {},
): Promise<Message[]> => {
  const messages: Message[] = []
  const { datastore, tenant } = stand
  const { position = 0, skipDamaged = false, onlyAgent = null, disk = 'vda' } = rest
  const params = { point, disk, position, skipDamaged }
  await serveDownload({ datastore, tenant, onlyAgent, params }, async (message) => {
    messages.push(structuredClone(message))
    await onMessage(message)
  })
  return messages
}

/** What the messages say of each chunk: its bytes, null for zero, `lost`. */
const said = (messages: readonly Message[]): (Uint8Array | null | 'lost')[] =>
  messages.flatMap((message): (Uint8Array | null | 'lost')[] => {
    if (message[0] === LOAD.start) return []
    if (message[0] === LOAD.zero) return Array<null>(message[1]).fill(null)
    if (message[0] === LOAD.lost) return Array<'lost'>(message[1]).fill('lost')
    return splitChunks({ heads: message[1], stored: message[2] }).map((chunk) => new Uint8Array(plainOf(chunk)))
  })

const diskOf = (plains: Plains): Buffer => Buffer.concat(plains.map((plain) => plain ?? Buffer.alloc(CHUNK_BYTES)))

test('known damage is refused before anything is sent; around it, exactly the lost chunks are said to be lost', async () => {
  await using stand = await Stand.open()
  await using attributions = new Attributions({ datastore: stand.datastore }, (error) => {
    throw error
  })
  stand.datastore.onDamage = (tenant) => attributions.soon(tenant)
  const damager = new Damager(stand.folder)
  const plains: Plains = [...randomDisk(300), ...Array<null>(20).fill(null), ...randomDisk(10)]
  const { id } = await stand.point(await stand.machine('db1'), plains)
  for (const lost of [3, 4, 200]) await damager.flip(damager.chunkId(plains[lost]!))
  await damager.flip(
    damager.nodesOf(diskOf(plains), CHUNK_BYTES).find(({ level, position }) => level === 0 && position === 64)!.id,
  )
  const expected = plains.map((plain, index) =>
    [3, 4, 200].includes(index) || (index >= 64 && index < 128) ? ('lost' as const) : plain,
  )
  // met while reading: the first is named with its place, then all that an attribution finds
  let sent = 0
  const met = serve(stand, id, {}, async () => void sent++)
  await expect(met).rejects.toMatchObject({ code: 'DATA_DAMAGED', details: { point: id, disk: 'vda' } })
  for (const position of [0, 4, 100, 201, 330])
    expect(said(await serve(stand, id, { skipDamaged: true, position }))).toEqual(expected.slice(position))
  await stand.datastore.tenantStore(stand.tenant).quarantine.attributed()
  sent = 0
  await expect(serve(stand, id, {}, async () => void sent++)).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    details: { lostCount: 3, lostBytes: 67 * CHUNK_BYTES },
  })
  expect(sent).toBe(0)
})

test('an image without its root is lost as a whole', async () => {
  await using stand = await Stand.open()
  const damager = new Damager(stand.folder)
  const plains = randomDisk(70)
  const { id, root } = await stand.point(await stand.machine('db1'), plains)
  await damager.flip(root!)
  // nobody attributes here, so that the record alone is named
  await expect(serve(stand, id)).rejects.toMatchObject({
    code: 'DATA_DAMAGED',
    details: { id: Buffer.from(root!).toString('hex') },
  })
  expect((await serve(stand, id, { skipDamaged: true })).slice(1)).toEqual([[LOAD.lost, 70]])
})

test('what is pruned and collected while it is read is read to its end', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = randomDisk(3000)
  const { id } = await stand.point(machine, plains, 30)
  await stand.point(machine, randomDisk(5), 31)
  let pruned = false
  const messages = await serve(stand, id, {}, async () => {
    if (pruned) return
    pruned = true
    removePoints(stand, id)
    await collected(stand)
  })
  expect(said(messages)).toEqual(plains)
  expect(await codeOf(serve(stand, id))).toBe('NOT_FOUND')
  await collected(stand)
})

test('a disk that is not there, and another agent’s point, are not found', async () => {
  await using stand = await Stand.open()
  const { id } = await stand.point(await stand.machine('db1'), randomDisk(3))
  expect(await codeOf(serve(stand, id, { disk: 'vdz' }))).toBe('NOT_FOUND')
  expect(await codeOf(serve(stand, id, { onlyAgent: 'someone' }))).toBe('NOT_FOUND')
})

test('a caller that ends a download with the words of our own damage takes nothing out of the index', async () => {
  await using stand = await Stand.open()
  const { datastore, tenant } = stand
  const victim = randomDisk(1)
  await stand.point(await stand.machine('victim'), victim)
  const ids = stand.idOf(victim[0]!)
  const located = async () => (await datastore.catalog.records.locate({ tenant: tenant.id, ids }))[0]!
  const { type, pack, offset } = await located()
  const lie = new VarveError('DATA_DAMAGED', 'a lie', { details: { id: hex(ids), type, pack, offset } })
  const untouched = async (): Promise<void> => {
    await datastore.tenantStore(tenant).quarantine.attributed()
    expect(await located()).toMatchObject({ pack, offset })
    expect(await datastore.catalog.damage.any({ tenant: tenant.id })).toBe(false)
  }
  const { id } = await stand.point(await stand.machine('db1'), randomDisk(3000))

  let served = Promise.resolve()
  const link = memoryLink(new HandClock(1000), {
    gateway: {
      'image.download': async (params, call) => {
        served = serveDownload({ datastore, tenant, onlyAgent: null, params }, (message) => call.send(message))
        await served
        return {}
      },
    },
  })
  const call = link.agent.open('image.download', { point: id, disk: 'vda', position: 0, skipDamaged: false })
  await call.messages[Symbol.asyncIterator]().next()
  link.gateway.receive(encodeFrame(errorFrame(0, lie)))
  expect(await codeOf(served)).toBe('CONNECTION_LOST')
  await untouched()
  // nor when it comes out of the sending itself
  expect(await codeOf(serve(stand, id, {}, () => Promise.reject(lie)))).toBe('DATA_DAMAGED')
  await untouched()
})
