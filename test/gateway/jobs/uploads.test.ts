// Uploads under way, with an agent in memory and a real datastore: one at a time of each disk, and what a hostile agent says.
import { expect, test, vi } from 'vitest'
import { hex } from '../../../protocol/chunk.ts'
import { VarveError } from '../../../protocol/errors.ts'
import { encodeFrame, errorFrame } from '../../../protocol/frames.ts'
import { ANSWER, DOWN, RUN, UP } from '../../../protocol/methods.ts'
import { codeOf } from '../auth/test-authority.ts'
import { addAgent } from '../catalog.ts'
import { joinIds, type Stand } from '../chains/script.ts'
import { plainChunk } from '../datastore/fixture.ts'
import { servedCall, testAccount } from '../../support/served-call.ts'
import { Setting, started, zeroes } from './setting.ts'

test('of several uploads of one disk the last live one has it, whatever became of the others', async () => {
  await using setting = await Setting.open()
  const first = setting.connect()
  const { job } = await setting.start()
  await setting.begin(job, 2)
  const params = { job, disk: 'vda' }
  const cut = first.agent.open('image.upload', params)
  expect(await started(cut)).toBe(0)
  const second = setting.connect()
  const dead = second.agent.open('image.upload', params)
  dead.result.catch(() => {})
  const live = setting.connect().agent.open('image.upload', params)
  await new Promise((resolve) => void setTimeout(resolve, 50))
  second.cut()
  first.cut()
  expect(await started(live)).toBe(0)
  await live.send(zeroes(2))
  live.end()
  expect(await live.result).toEqual({ root: null })
  expect(await codeOf(cut.result)).toBe('CONNECTION_LOST')
  expect(await codeOf(dead.result)).toBe('CONNECTION_LOST')
})

test('of two live uploads of one disk the second waits, and has the first one’s result', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  await setting.begin(job, 2)
  const open = () => agent.open('image.upload', { job, disk: 'vda' })
  const [first, second, third] = [open(), open(), open()]
  expect(await started(first)).toBe(0)
  first.cancel()
  expect(await started(second)).toBe(0)
  await second.send(zeroes(2))
  second.end()
  expect(await second.result).toEqual({ root: null })
  expect((await third.messages[Symbol.asyncIterator]().next()).done).toBe(true)
  expect(await third.result).toEqual({ root: null })
})

test.each([
  ['has its disk once that is announced', false],
  ['has nothing to upload where that fails', true],
])('an upload that comes right behind its announcement %s', async (_what, fails) => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  const { jobs } = setting.stand.datastore.catalog
  const held = Promise.withResolvers<void>()
  const { begin } = jobs
  using _spy = vi.spyOn(jobs, 'begin').mockImplementationOnce(async (args) => {
    await held.promise
    if (fails) throw new VarveError('STORE_FAILED', 'the disk is full')
    return await begin(args)
  })
  const begun = setting.begin(job, 2)
  const call = agent.open('image.upload', { job, disk: 'vda' })
  // a call that is answered at once, so the upload has had its chance to go ahead
  await setting.view(job)
  held.resolve()
  if (fails) {
    expect(await codeOf(begun)).toBe('STORE_FAILED')
    expect(await codeOf(call.result)).toBe('NOT_FOUND')
    return
  }
  await begun
  expect(await started(call)).toBe(0)
  await call.send(zeroes(2))
  call.end()
  expect(await call.result).toEqual({ root: null })
})

test('another agent’s upload of a running disk is answered without waiting for it', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  await setting.begin(job)
  await started(agent.open('image.upload', { job, disk: 'vda' }))
  const { stand, backups } = setting
  const stranger = await addAgent(stand.datastore.catalog, stand.tenant)
  const call = { call: servedCall<'image.upload'>(), account: testAccount() }
  const refused = backups.uploads.receive(stand.tenant, stranger, { job, disk: 'vda' }, call)
  await expect(refused).rejects.toMatchObject({ code: 'NOT_FOUND', message: `there is no job ${job}` })
})

test('an upload answers ids and wants what is not there', async () => {
  await using setting = await Setting.open()
  const { agent } = setting.connect()
  const { job } = await setting.start()
  await setting.begin(job, 2)
  const plain = plainChunk()
  const id = setting.stand.idOf(plain)
  const call = agent.open('image.upload', { job, disk: 'vda' })
  const messages = call.messages[Symbol.asyncIterator]()
  await messages.next()
  await call.send([UP.runs, [[RUN.ids, joinIds([id, id])]]])
  const answers = await messages.next()
  expect(answers.done === true ? null : [answers.value[0], ...(answers.value[1] as Uint8Array)]).toEqual([
    DOWN.answers,
    ANSWER.want,
    ANSWER.have,
  ])
})

/** A record of another machine, as a hostile agent could name it: with the place that the index has of it. */
const victimOf = async (stand: Stand) => {
  const { tenant, datastore } = stand
  const plain = plainChunk()
  await stand.point(await stand.machine('victim'), [plain])
  const id = stand.idOf(plain)
  const located = async () => (await datastore.catalog.records.locate({ tenant: tenant.id, ids: id }))[0]!
  const { type, pack, offset } = await located()
  const lie = new VarveError('DATA_DAMAGED', 'a lie', { details: { id: hex(id), type, pack, offset } })
  const untouched = async (): Promise<void> => {
    await datastore.tenantStore(tenant).quarantine.attributed()
    expect(await located()).toMatchObject({ pack, offset })
    expect(await datastore.catalog.damage.any({ tenant: tenant.id })).toBe(false)
  }
  return { lie, untouched }
}

test('an agent that ends its connection with the words of our own damage takes nothing out of the index', async () => {
  await using setting = await Setting.open()
  const { lie, untouched } = await victimOf(setting.stand)
  const { agent, gateway } = setting.connect()
  const { job } = await setting.start()
  await setting.begin(job)
  const call = agent.open('image.upload', { job, disk: 'vda' })
  await started(call)
  gateway.receive(encodeFrame(errorFrame(0, lie)))
  expect((await gateway.closed).code).toBe('CONNECTION_LOST')
  await setting.backups.uploads.settled()
  await untouched()
  // the job lives on, for the agent's next connection
  const again = setting.connect().agent.open('image.upload', { job, disk: 'vda' })
  expect(await started(again)).toBe(0)
})

test('nor does such an error that comes out of the messages themselves', async () => {
  await using setting = await Setting.open()
  const { stand, backups, machine } = setting
  const { lie, untouched } = await victimOf(stand)
  setting.connect()
  const { job } = await setting.start()
  await setting.begin(job)
  const messages = (): AsyncIterable<never> => ({ [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(lie) }) })
  const calls = [
    servedCall<'image.upload'>({ messages: messages() }),
    servedCall<'image.upload'>({ send: () => Promise.reject(lie) }),
  ]
  const disk = { job, disk: 'vda' }
  for (const call of calls) {
    const upload = backups.uploads.receive(stand.tenant, machine.agent, disk, { call, account: testAccount() })
    expect(await codeOf(upload)).toBe('DATA_DAMAGED')
  }
  await untouched()
})
