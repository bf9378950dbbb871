// One image upload against a real datastore: answers, chunks, proofs, resume, and everything an agent may do wrong.
// Method: an agent by hand sends each message; what is stored is compared with a tree built over a plain list of chunk ids.
import { HAVE } from '../../../gateway/catalog/records.ts'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { recordBytes } from '../../../gateway/packs/format.ts'
import { keyedHash } from '../../../protocol/host/keyed-hash.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { FULL_BYTES, UploadLoad } from '../../../gateway/chains/upload-load.ts'
import { FAN_OUT } from '../../../protocol/image-tree.ts'
import { UPLOAD_AHEAD_ITEMS_MAX, UPLOAD_IDS_MAX, UPLOAD_WAITING_ITEMS_MAX } from '../../../protocol/limits.ts'
import { ANSWER, RUN, UP } from '../../../protocol/methods.ts'
import { codeOf } from '../auth/test-authority.ts'
import { CHUNK_BYTES, plainChunk, treeOf } from '../datastore/fixture.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { testDice } from '../../support/seed.ts'
import { eventually } from '../../support/temp.ts'
import { chunksMessage, wireChunk } from '../../protocol/wire-chunks.ts'
import { joinIds, runsOf, sameRefs, sizeOf, Stand, type Plains, type Runs } from './script.ts'

const plainsOf = (count: number, zeroEvery = 0): (Uint8Array | null)[] =>
  Array.from({ length: count }, (_, index) => (zeroEvery > 0 && index % zeroEvery === 0 ? null : plainChunk()))

const countOf = (run: Runs[number]): number => (run[0] === RUN.ids ? run[1].length / 32 : run[1])

/** Flips one bit in the stored bytes of a record. */
const damage = async (stand: Stand, id: Uint8Array): Promise<void> => {
  const [location] = await stand.datastore.catalog.records.locate({ tenant: stand.tenant.id, ids: id })
  const { pack, offset, storedLength } = location!
  const file = path.join(stand.folder, 'packs', stand.tenant.id, pack.slice(0, 2), `${pack}.pack`)
  const bytes = await readFile(file)
  bytes[offset + recordBytes(storedLength) - 1]! ^= 1
  await writeFile(file, bytes)
}

test('a full image with zeroes and a short last chunk is stored exactly', async () => {
  await using stand = await Stand.open()
  const plains = [...plainsOf(150, 7), plainChunk().subarray(0, 1024)]
  const job = await stand.job(await stand.machine('db1'), sizeOf(plains))
  const script = await stand.uploadAll(job, plains)
  const { root } = await script.result
  expect(root).toEqual(treeOf(stand.tenant, stand.refs(plains)).root)
  expect(sameRefs(await stand.stored(root, plains.length), stand.refs(plains))).toBe(true)
  expect(await stand.row(job)).toMatchObject({ position: plains.length, finished: true })
  for (const [id, plain] of stand.byId(plains)) {
    const read = await stand.datastore.tenantStore(stand.tenant).readRecord(Buffer.from(id, 'hex'))
    expect(Buffer.from(read.plain).equals(plain)).toBe(true)
  }
})

test('an image of zeroes has no root', async () => {
  await using stand = await Stand.open()
  const zero = await stand.point(await stand.machine('db1'), Array<null>(5000).fill(null))
  expect(zero.root).toBeNull()
})

test('an increment keeps ranges of every size from its base, and a resumed one as well', async () => {
  const dice = testDice()
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const chunks = FAN_OUT * FAN_OUT + 3 * FAN_OUT + 5
  // few different contents, so that a large disk is cheap
  const contents = plainsOf(5)
  const before: Plains = Array.from({ length: chunks }, () => (dice.below(4) === 0 ? null : dice.pick(contents)))
  await stand.point(machine, before, 30)
  const refsBefore = stand.refs(before)
  const fresh = plainsOf(3)
  const now = [...refsBefore]
  const script: Runs[] = []
  let position = 0
  const spans = [1, FAN_OUT - 1, FAN_OUT, FAN_OUT + 1, FAN_OUT * FAN_OUT]
  while (position < chunks) {
    const runs: Runs = []
    for (let count = 1 + dice.below(5); count > 0 && position < chunks; count--) {
      const span = Math.min(dice.pick(spans), chunks - position)
      const kind = dice.below(4)
      if (kind <= 1) runs.push([RUN.keep, span])
      else if (kind === 2) {
        runs.push([RUN.zero, span])
        now.fill(null, position, position + span)
      } else {
        const many = Math.min(span, 20)
        const refs = Array.from({ length: many }, () => stand.idOf(dice.pick(fresh)!))
        runs.push([RUN.ids, joinIds(refs)])
        now.splice(position, many, ...refs)
        position += many - span
      }
      position += span
    }
    script.push(runs)
  }
  const expected = treeOf(stand.tenant, now)
  const job = await stand.job(machine, sizeOf(before), 'incremental')
  const first = stand.upload(job)
  const { proofKey } = await first.started()
  const half = Math.ceil(script.length / 2)
  for (const runs of script.slice(0, half)) await first.deliver(runs, stand.byId(fresh), proofKey)
  const placed = script
    .slice(0, half)
    .flat()
    .reduce((sum, run) => sum + countOf(run), 0)
  await eventually(() => {
    first.clock.advance(1000)
    return first.durable.at(-1) === placed
  })
  first.break(new VarveError('CONNECTION_LOST', 'cut'))
  await codeOf(first.result)
  const second = stand.upload(job)
  expect((await second.started()).position).toBe(placed)
  for (const runs of script.slice(half)) await second.deliver(runs, stand.byId(fresh), proofKey)
  second.end()
  expect((await second.result).root).toEqual(expected.root)
  expect(sameRefs(await stand.stored(expected.root, chunks), now)).toBe(true)
})

test('an id that comes again is asked for once, in one message and across messages, before and after its commit', async () => {
  await using stand = await Stand.open()
  const [a, b] = plainsOf(2) as [Uint8Array, Uint8Array]
  const [idA, idB] = [stand.idOf(a), stand.idOf(b)]
  const job = await stand.job(await stand.machine('db1'), 9 * CHUNK_BYTES)
  const script = stand.upload(job)
  await script.started()
  const { want, have } = ANSWER
  expect(await script.ask([[RUN.ids, joinIds([idA, idA, idB])]])).toEqual([want, have, want])
  expect(await script.ask([[RUN.ids, joinIds([idB, idA])]])).toEqual([have, have])
  script.say(chunksMessage(UP.chunks, wireChunk(idB, b)))
  expect(await script.ask([[RUN.ids, idB]])).toEqual([have])
  script.say(chunksMessage(UP.chunks, wireChunk(idA, a)))
  await eventually(() => {
    script.clock.advance(1000)
    return script.durable.at(-1) === 6
  })
  expect(await script.ask([[RUN.ids, joinIds([idA, idB])]])).toEqual([have, have])
  // another upload has found our copy damaged
  await stand.datastore.catalog.collection.sweep({ tenant: stand.tenant.id, ids: idA })
  expect(await script.ask([[RUN.ids, idA]])).toEqual([want])
  script.say(chunksMessage(UP.chunks, wireChunk(idA, a)))
  script.end()
  const refs = [idA, idA, idB, idB, idA, idB, idA, idB, idA]
  expect((await script.result).root).toEqual(treeOf(stand.tenant, refs).root)
})

test('an upload that is cut after any acknowledged cursor goes on there and ends with the same root', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const plains = plainsOf(FAN_OUT + 40, 5)
  const { root } = treeOf(stand.tenant, stand.refs(plains))
  const byId = stand.byId(plains)
  for (let cut = 1; cut <= 8; cut++) {
    const job = await stand.job(machine, sizeOf(plains))
    const first = stand.upload(job)
    const { proofKey } = await first.started()
    for (let message = 0; message < cut; message++) {
      const part = stand.refs(plains.slice(message * 13, message * 13 + 13))
      await first.deliver(runsOf(part), byId, proofKey)
      const placed = message * 13 + part.length
      await eventually(() => {
        first.clock.advance(1000)
        return first.durable.at(-1) === placed
      })
    }
    // one more that is on its way when the link breaks
    if (cut < 8) first.say([UP.runs, runsOf(stand.refs(plains.slice(cut * 13, cut * 13 + 5)))])
    first.break(new VarveError('CONNECTION_LOST', 'cut'))
    expect(await codeOf(first.result)).toBe('CONNECTION_LOST')
    const { position } = await stand.row(job)
    expect(position).toBeGreaterThanOrEqual(first.durable.at(-1)!)
    const second = await stand.uploadAll(job, plains, 17)
    expect((await second.result).root).toEqual(root)
    expect(await stand.row(job)).toMatchObject({ finished: true, changedBytes: plains.length * CHUNK_BYTES })
    await stand.datastore.catalog.jobs.fail({
      job: job.id,
      agent: machine.agent,
      code: 'X',
      message: '',
      nowMs: 1,
    })
  }
})

test('zeroes that are said by an id are refused, so that content has one root', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const whole = new Uint8Array(CHUNK_BYTES)
  const short = new Uint8Array(512)
  const plain = plainChunk()
  for (const [at, zeroes] of [
    [0, whole],
    [1, whole],
    [2, short],
  ] as const) {
    const refs = [stand.idOf(plain), stand.idOf(plain), stand.idOf(plain.subarray(0, 512))]
    const job = await stand.job(machine, 2 * CHUNK_BYTES + 512)
    const script = stand.upload(job)
    await script.started()
    script.say([UP.runs, runsOf(refs.with(at, stand.idOf(zeroes)))])
    expect(await codeOf(script.result)).toBe('UPLOAD_INVALID')
    expect(await stand.row(job)).toMatchObject({ position: 0, finished: false })
    await stand.datastore.catalog.jobs.fail({
      job: job.id,
      agent: machine.agent,
      code: 'X',
      message: '',
      nowMs: 9,
    })
  }
  // whatever way their runs are cut, equal images have equal roots
  const roots: unknown[] = []
  for (const cut of [1, 3]) {
    const job = await stand.job(machine, 7 * CHUNK_BYTES)
    const script = stand.upload(job)
    const { proofKey } = await script.started()
    const plains = new Map([[Buffer.from(stand.idOf(plain)).toString('hex'), plain]])
    for (let left = 6; left > 0; left -= cut) await script.deliver([[RUN.zero, cut]], plains, proofKey)
    await script.deliver([[RUN.ids, stand.idOf(plain)]], plains, proofKey)
    script.end()
    roots.push((await script.result).root)
    await stand.datastore.catalog.jobs.fail({
      job: job.id,
      agent: machine.agent,
      code: 'X',
      message: '',
      nowMs: 9,
    })
  }
  expect(roots[0]).toEqual(roots[1])
})

test('the id of a chunk that is longer or shorter than its place is refused, known, asked for or not', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const [long, short] = [plainChunk(), plainChunk().subarray(0, 512)]
  await stand.point(machine, [long, short])
  const fresh = plainChunk()
  for (const [first, last] of [
    // in the index
    [long, long],
    [short, short],
    // asked for a moment before
    [fresh, fresh],
  ] as const) {
    const job = await stand.job(machine, CHUNK_BYTES + 512)
    const script = stand.upload(job)
    await script.started()
    script.say([UP.runs, runsOf([stand.idOf(first), stand.idOf(last)])])
    expect(await codeOf(script.result)).toBe('CHUNK_INVALID')
    await stand.datastore.catalog.jobs.fail({
      job: job.id,
      agent: machine.agent,
      code: 'X',
      message: '',
      nowMs: 9,
    })
  }
  // of another machine it must not even be proved
  const job = await stand.job(await stand.machine('db2'), CHUNK_BYTES + 512)
  const script = stand.upload(job)
  await script.started()
  script.say([UP.runs, runsOf([stand.idOf(long), stand.idOf(long)])])
  expect(await codeOf(script.result)).toBe('CHUNK_INVALID')
})

test('chunks that came before a break are not sent again, though their place was not acknowledged', async () => {
  await using stand = await Stand.open()
  const job = await stand.job(await stand.machine('db1'), 21 * CHUNK_BYTES)
  const plains = [...plainsOf(20), null]
  const refs = stand.refs(plains.slice(0, 20))
  const first = stand.upload(job)
  await first.started()
  // the first chunk is held back, so nothing can be placed
  const asked = await first.ask(runsOf(refs))
  expect(asked).toEqual(Array(20).fill(ANSWER.want))
  first.say(chunksMessage(UP.chunks, ...refs.slice(1).map((id, index) => wireChunk(id!, plains[index + 1]!))))
  expect(await first.ask([[RUN.zero, 1]])).toEqual([])
  first.break(new VarveError('CONNECTION_LOST', 'cut'))
  await codeOf(first.result)
  expect(await stand.row(job)).toMatchObject({ position: 0 })
  const second = await stand.uploadAll(job, plains)
  expect(second.chunks).toBe(1)
})

test('a machine proves that it holds what another machine brought', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(10)
  await stand.point(await stand.machine('db1'), plains)
  const machine = await stand.machine('db2')
  const job = await stand.job(machine, sizeOf(plains))
  const script = await stand.uploadAll(job, plains)
  expect(script).toMatchObject({ proofs: 10, chunks: 0 })
  await stand.commit(job)
  const have = await stand.datastore.tenantStore(stand.tenant).have(stand.refs(plains) as Uint8Array[], machine.name)
  expect([...have]).toEqual(Array(10).fill(HAVE.other))

  // its own chain shows the same chunk at the same place, and nowhere else
  const next = stand.upload(await stand.job(machine, sizeOf(plains)))
  const { proofKey } = await next.started()
  const [a, b] = stand.refs(plains) as [Uint8Array, Uint8Array]
  expect(await next.ask([[RUN.ids, joinIds([a, a, b])]])).toEqual([ANSWER.have, ANSWER.prove, ANSWER.prove])
  next.say([UP.proofs, [b, a].map((id, index) => [id, keyedHash(proofKey, plains[1 - index]!)])])
  expect(await next.verdicts()).toEqual([ANSWER.have, ANSWER.have])
})

test('an id that must be proved and comes again is proved once', async () => {
  await using stand = await Stand.open()
  const [plain] = plainsOf(1) as [Uint8Array]
  await stand.point(await stand.machine('db1'), [plain])
  const id = stand.idOf(plain)
  const script = stand.upload(await stand.job(await stand.machine('db2'), 4 * CHUNK_BYTES))
  const { proofKey } = await script.started()
  expect(await script.ask([[RUN.ids, joinIds([id, id])]])).toEqual([ANSWER.prove, ANSWER.have])
  expect(await script.ask([[RUN.ids, joinIds([id, id])]])).toEqual([ANSWER.have, ANSWER.have])
  script.say([UP.proofs, [[id, keyedHash(proofKey, plain)]]])
  expect(await script.verdicts()).toEqual([ANSWER.have])
  script.end()
  expect((await script.result).root).toEqual(treeOf(stand.tenant, [id, id, id, id]).root)
})

test.each(['another key', 'another chunk', 'not asked for', 'given twice'])(
  'a proof that is wrong (%s) ends the upload',
  async (how) => {
    await using stand = await Stand.open()
    const [plain, other] = plainsOf(2) as [Uint8Array, Uint8Array]
    await stand.point(await stand.machine('db1'), [plain, other])
    const id = stand.idOf(plain)
    const machine = await stand.machine('db2')
    const job = await stand.job(machine, 2 * CHUNK_BYTES)
    const script = stand.upload(job)
    const { proofKey } = await script.started()
    expect(await script.ask([[RUN.ids, id]])).toEqual([ANSWER.prove])
    const right = keyedHash(proofKey, plain)
    if (how === 'another key') script.say([UP.proofs, [[id, keyedHash(stand.tenant.idKey, plain)]]])
    else if (how === 'another chunk') script.say([UP.proofs, [[id, keyedHash(proofKey, other)]]])
    else if (how === 'not asked for') script.say([UP.proofs, [[stand.idOf(other), keyedHash(proofKey, other)]]])
    else
      script.say([
        UP.proofs,
        [
          [id, right],
          [id, right],
        ],
      ])
    expect(await codeOf(script.result)).toBe('PROOF_INVALID')
    expect(await stand.row(job)).toMatchObject({ position: 0, finished: false })
  },
)

test('our own damaged copy is asked for again, and every image that holds it is whole again', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(6)
  const { root } = await stand.point(await stand.machine('db1'), plains)
  const bad = stand.idOf(plains[2]!)
  await damage(stand, bad)
  const store = stand.datastore.tenantStore(stand.tenant)
  expect(await codeOf(store.readRecord(bad))).toBe('DATA_DAMAGED')
  const job = await stand.job(await stand.machine('db2'), sizeOf(plains))
  const script = await stand.uploadAll(job, plains, 2)
  expect(script).toMatchObject({ proofs: 6, chunks: 1 })
  expect((await script.result).root).toEqual(root)
  for (const id of stand.refs(plains)) expect(await codeOf(store.readRecord(id!))).toBe('none')
})

test('a damaged base does not keep a full read from going on', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(FAN_OUT * 2)
  await stand.point(await stand.machine('db1'), plains)
  const machine = await stand.machine('db2')
  await stand.point(machine, plains)
  const { root } = treeOf(stand.tenant, stand.refs(plains))
  await stand.datastore.catalog.collection.sweep({ tenant: stand.tenant.id, ids: root! })
  // what has just started has no node in its cache
  await stand.reopen()
  const kept = stand.upload(await stand.job(machine, sizeOf(plains), 'incremental'))
  await kept.started()
  kept.say([UP.runs, [[RUN.keep, 1]]])
  expect(await codeOf(kept.result)).toBe('DATA_DAMAGED')
  await stand.fail(machine)
  const script = await stand.uploadAll(await stand.job(machine, sizeOf(plains)), plains)
  expect(script).toMatchObject({ chunks: 0, proofs: plains.length })
  expect((await script.result).root).toEqual(root)
  const store = stand.datastore.tenantStore(stand.tenant)
  expect(await codeOf(store.readRecord(root!))).toBe('none')
})

test('a damaged node of the base is let go by the full read that meets it, which brings it again', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(FAN_OUT * 2)
  await stand.point(await stand.machine('db1'), plains)
  const machine = await stand.machine('db2')
  await stand.point(machine, plains)
  const { root } = treeOf(stand.tenant, stand.refs(plains))
  await damage(stand, root!)
  await stand.reopen()
  const script = await stand.uploadAll(await stand.job(machine, sizeOf(plains)), plains)
  expect((await script.result).root).toEqual(root)
  await stand.reopen()
  const store = stand.datastore.tenantStore(stand.tenant)
  expect(await codeOf(store.readRecord(root!))).toBe('none')
})

test('an agent that does what it may not is told so, and its image stays unfinished', async () => {
  await using stand = await Stand.open()
  const machine = await stand.machine('db1')
  const [plain, other] = plainsOf(2) as [Uint8Array, Uint8Array]
  const id = stand.idOf(plain)
  const attempt = async (
    code: string,
    act: (script: ReturnType<Stand['upload']>) => Promise<void> | void,
    size = 4 * CHUNK_BYTES + 512,
  ): Promise<void> => {
    const job = await stand.job(machine, size)
    const script = stand.upload(job)
    await script.started()
    await act(script)
    expect(await codeOf(script.result)).toBe(code)
    expect(await stand.row(job)).toMatchObject({ finished: false })
    await stand.datastore.catalog.jobs.fail({ job: job.id, agent: machine.agent, code, message: '', nowMs: 1 })
  }
  await attempt('CHUNK_INVALID', (script) => script.say(chunksMessage(UP.chunks, wireChunk(id, plain))))
  const ask = (script: ReturnType<Stand['upload']>): Promise<number[]> => script.ask([[RUN.ids, id]])
  await attempt('CHUNK_INVALID', async (script) => {
    await ask(script)
    script.say(chunksMessage(UP.chunks, wireChunk(id, plain), wireChunk(id, plain)))
  })
  await attempt('CHUNK_INVALID', async (script) => {
    await ask(script)
    script.say(chunksMessage(UP.chunks, wireChunk(id, plain.subarray(0, 100))))
  })
  await attempt('CHUNK_INVALID', async (script) => {
    await ask(script)
    script.say(chunksMessage(UP.chunks, wireChunk(id, other)))
  })
  await attempt('CHUNK_INVALID', async (script) => {
    await script.ask([
      [RUN.zero, 4],
      [RUN.ids, id],
    ])
    // the last chunk of this disk has 100 bytes
    script.say(chunksMessage(UP.chunks, wireChunk(id, plain)))
  })
  await attempt('UPLOAD_INVALID', (script) => script.say([UP.runs, [[RUN.zero, 6]]]))
  await attempt('UPLOAD_INVALID', (script) =>
    script.say([
      UP.runs,
      [
        [RUN.zero, 5],
        [RUN.ids, id],
      ],
    ]),
  )
  await attempt('UPLOAD_INVALID', (script) =>
    script.say([UP.runs, Array.from({ length: 4096 }, () => [RUN.zero, 2 ** 36])]),
  )
  await attempt('UPLOAD_INVALID', (script) => script.say([UP.runs, [[RUN.keep, 1]]]))
  const ids = joinIds(Array(UPLOAD_IDS_MAX).fill(id) as Uint8Array[])
  await attempt(
    'UPLOAD_INVALID',
    (script) =>
      script.say([
        UP.runs,
        [
          [RUN.ids, ids],
          [RUN.ids, id],
        ],
      ]),
    2 ** 30,
  )
  await attempt('IMAGE_INCOMPLETE', (script) => script.end())
  await attempt('IMAGE_INCOMPLETE', async (script) => {
    await script.ask([[RUN.zero, 4]])
    script.end()
  })
  await attempt('IMAGE_INCOMPLETE', async (script) => {
    await script.ask([
      [RUN.ids, id],
      [RUN.zero, 4],
    ])
    script.end()
  })
})

test('runs past what may be ahead wait for their answers, and have them once there is room', async () => {
  await using stand = await Stand.open()
  const [plain] = plainsOf(1) as [Uint8Array]
  const id = stand.idOf(plain)
  const perMessage = UPLOAD_IDS_MAX
  const ids = joinIds(Array(perMessage).fill(id) as Uint8Array[])
  const fit = Math.floor(UPLOAD_AHEAD_ITEMS_MAX / (perMessage + 2))
  const messages = fit + 20
  const job = await stand.job(await stand.machine('db1'), messages * perMessage * CHUNK_BYTES)
  const script = stand.upload(job)
  await script.started()
  for (let message = 0; message < messages; message++) script.say([UP.runs, [[RUN.ids, ids]]])
  for (let message = 0; message < fit; message++) await script.answers()
  let answered = fit
  const rest = (async () => {
    for (; answered < messages; answered++) await script.answers()
  })()
  await new Promise((resolve) => void setTimeout(resolve, 200))
  expect(answered).toBe(fit)
  script.say(chunksMessage(UP.chunks, wireChunk(id, plain)))
  await rest
  script.end()
  await script.result
  expect(await stand.row(job)).toMatchObject({ position: messages * perMessage, finished: true })
})

test('an agent that never heeds its answers is given up before it fills memory', async () => {
  await using stand = await Stand.open()
  const script = stand.upload(await stand.job(await stand.machine('db1'), 2 ** 40))
  await script.started()
  const ids = Array.from({ length: UPLOAD_IDS_MAX }, () => randomBytes(32))
  const messages = Math.ceil((UPLOAD_AHEAD_ITEMS_MAX + UPLOAD_WAITING_ITEMS_MAX) / UPLOAD_IDS_MAX) + 1
  for (let message = 0; message < messages; message++) {
    ids[0] = randomBytes(32)
    script.say([UP.runs, [[RUN.ids, joinIds(ids)]]])
  }
  expect(await codeOf(script.result)).toBe('UPLOAD_INVALID')
})

test('input that ends while runs wait behind a missing chunk is incomplete', async () => {
  await using stand = await Stand.open()
  const script = stand.upload(await stand.job(await stand.machine('db1'), 2 ** 40))
  await script.started()
  const ids = joinIds(Array(UPLOAD_IDS_MAX).fill(stand.idOf(plainChunk())) as Uint8Array[])
  for (let message = 0; message < UPLOAD_AHEAD_ITEMS_MAX / UPLOAD_IDS_MAX + 2; message++)
    script.say([UP.runs, [[RUN.ids, ids]]])
  script.end()
  expect(await codeOf(script.result)).toBe('IMAGE_INCOMPLETE')
})

test('a reason given from outside ends the upload, and nothing is committed after it', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(4)
  const job = await stand.job(await stand.machine('db1'), sizeOf(plains))
  const script = stand.upload(job)
  const { proofKey } = await script.started()
  await script.deliver(runsOf(stand.refs(plains.slice(0, 2))), stand.byId(plains), proofKey)
  script.abort.abort(new VarveError('JOB_ENDED', 'cancelled'))
  expect(await codeOf(script.result)).toBe('JOB_ENDED')
  const { position } = await stand.row(job)
  script.clock.advance(10_000)
  expect(await stand.row(job)).toMatchObject({ position, finished: false })
  const late = stand.upload(job, new HandClock(0))
  late.abort.abort(new VarveError('JOB_ENDED', 'cancelled'))
  expect(await codeOf(late.result)).toBe('JOB_ENDED')
})

test('an upload is over only when the commit under way is', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(2)
  const job = await stand.job(await stand.machine('db1'), sizeOf(plains))
  const script = stand.upload(job)
  const { proofKey } = await script.started()
  const held = Promise.withResolvers<void>()
  script.hold = held.promise
  await script.deliver(runsOf(stand.refs(plains.slice(0, 1))), stand.byId(plains), proofKey)
  await eventually(() => script.clock.waiting > 0)
  script.clock.advance(1000)
  await new Promise((resolve) => setImmediate(resolve))
  let over = false
  const result = codeOf(script.result).finally(() => (over = true))
  script.break(new VarveError('CONNECTION_LOST', 'cut'))
  await new Promise((resolve) => void setTimeout(resolve, 100))
  expect(over).toBe(false)
  held.resolve()
  expect(await result).toBe('CONNECTION_LOST')
  expect(await stand.row(job)).toMatchObject({ position: 1 })
})

test('what is acknowledged waits at most for the interval, and no message says more than is durable', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(6)
  const job = await stand.job(await stand.machine('db1'), sizeOf(plains))
  const script = stand.upload(job)
  const { proofKey } = await script.started()
  await script.deliver(runsOf(stand.refs(plains.slice(0, 3))), stand.byId(plains), proofKey)
  await eventually(() => script.clock.waiting > 0)
  expect(script.durable).toEqual([])
  script.clock.advance(1000)
  await eventually(async () => script.durable.length === 1)
  expect(script.durable).toEqual([3])
  expect(await stand.row(job)).toMatchObject({ position: 3, finished: false })
})

test('an agent that takes no answers keeps nobody else waiting, whatever it has sent', async () => {
  await using stand = await Stand.open()
  const plains = plainsOf(3)
  const load = new UploadLoad()
  const deaf = stand.upload(await stand.job(await stand.machine('db1'), sizeOf(plains)))
  const taken = Promise.withResolvers<void>()
  Object.assign(deaf, { load, cost: FULL_BYTES + 1, deaf: taken.promise })
  const { proofKey } = await deaf.started()
  deaf.say([UP.runs, runsOf(stand.refs(plains))])
  await eventually(() => deaf.answered === 1)
  expect(load.full).toBe(false)
  const other = stand.upload(await stand.job(await stand.machine('db2'), sizeOf(plains)))
  Object.assign(other, { load })
  await other.started()
  await other.deliver(runsOf(stand.refs(plains)), stand.byId(plains), proofKey)
  other.end()
  await other.result
  taken.resolve()
  await deaf.answers()
  deaf.supply(plains as Uint8Array[], stand)
  deaf.end()
  await deaf.result
  expect(load.hungry).toBe(true)
})
