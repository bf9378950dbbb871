// Restores in the catalog: begun for a point that is there, ended once and told, kept in bounds, and failed after a crash.
import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { RESTORES_KEPT_MAX, type NewRestore } from '../../../../gateway/catalog/restores.ts'
import { RESTORES_RUNNING_MAX } from '../../../../protocol/limits.ts'
import { codeOf, testAuthority } from '../../auth/test-authority.ts'
import { addAgent, addMachine, addPoint } from '../../catalog.ts'

const DISK: NewRestore['disks'][number] = {
  disk: 'vda',
  size: 512,
  to: '/srv/vda',
  format: null,
  how: 'new',
  doneBytes: 0,
  bytesReceived: 0,
  differBytes: null,
  writtenBytes: 0,
  remarks: [],
}

const made = async () => {
  const authority = await testAuthority()
  const { catalog, acme, other } = authority
  const agent = await addAgent(catalog, acme)
  const point = await addPoint(catalog, acme, await addMachine(catalog, acme, agent, 'db1'))
  const start = async (rest: Partial<NewRestore> = {}): Promise<string> => {
    const id = randomUUID()
    const about = { id, tenant: acme.id, point, agent, subject: 'ann', overwrite: false, disks: [DISK], nowMs: 1000 }
    await catalog.restores.start({ ...about, ...rest })
    return id
  }
  const list = (rest: object = {}) =>
    catalog.restores.list({ tenant: acme.id, machine: null, state: null, after: null, limit: 100, ...rest })
  const told = async () =>
    (await catalog.events.after({ seq: 0, limit: 1000 })).filter(({ kind }) => kind.startsWith('restore.'))
  return {
    authority,
    catalog,
    acme,
    other,
    agent,
    point,
    start,
    list,
    told,
    [Symbol.asyncDispose]: () => authority[Symbol.asyncDispose](),
  }
}

test('one that runs is listed and keeps its point; it ends once, and that is told', async () => {
  await using at = await made()
  const { catalog, acme, other, point } = at
  const id = await at.start()
  expect((await at.list()).restores).toMatchObject([
    { id, point, machine: 'db1', by: 'ann', state: 'running', endedMs: null },
  ])
  expect((await catalog.retention.point({ tenant: acme.id, id: point })).inUse).toBe(true)
  const removal = {
    tenant: acme.id,
    points: [point],
    named: true,
    nowMs: 2000,
    by: { subject: 'ann', role: 'owner' as const },
  }
  expect(await codeOf(catalog.points.remove(removal))).toBe('POINT_HELD')
  expect(await catalog.restores.get({ tenant: other.id, id })).toBeNull()
  const end = { id, error: null, disks: [{ ...DISK, doneBytes: 512 }], nowMs: 3000 }
  expect(await catalog.restores.end(end)).toBe(true)
  expect(await catalog.restores.end({ ...end, error: { code: 'CANCELLED', message: 'late' } })).toBe(false)
  expect(await catalog.restores.get({ tenant: acme.id, id })).toMatchObject({
    state: 'done',
    endedMs: 3000,
    error: null,
  })
  expect((await at.told()).map(({ kind, machine }) => [kind, machine])).toEqual([['restore.done', 'db1']])
  expect((await catalog.points.remove(removal)).removed).toBe(1)
  // it is shown after its point was removed
  expect((await at.list({ machine: 'db1', state: 'done' })).restores).toHaveLength(1)
})

test('of one onto what is there it is told how much was written, and of a comparison nothing', async () => {
  await using at = await made()
  const ends = async (disk: Partial<NewRestore['disks'][number]>): Promise<void> => {
    const disks = [{ ...DISK, ...disk }]
    await at.catalog.restores.end({ id: await at.start({ disks }), error: null, disks, nowMs: 3000 })
  }
  await ends({ how: 'onto', differBytes: 4096, writtenBytes: 4096 })
  await ends({ how: 'compare', differBytes: 4096 })
  expect((await at.told()).map(({ text }) => text)).toEqual([
    expect.stringContaining('4.0 KiB that differed were written'),
  ])
  const left = await at.start({ disks: [{ ...DISK, how: 'onto' }] })
  await at.catalog.restores.abandon({ nowMs: 4000 })
  const { error } = (await at.catalog.restores.get({ tenant: at.acme.id, id: left }))!
  expect(error?.message).toContain('.varve-incomplete')
})

test('one that was noted before anything was compared is of new files', async () => {
  await using at = await made()
  const { how: _how, differBytes: _differ, writtenBytes: _written, ...before } = DISK
  await at.start({ disks: [before as NewRestore['disks'][number]] })
  expect((await at.list()).restores[0]!.disks).toEqual([DISK])
})

test('what is not there cannot be restored, and what was refused is forgotten', async () => {
  await using at = await made()
  expect(await codeOf(at.start({ point: randomUUID() }))).toBe('NOT_FOUND')
  expect(await codeOf(at.start({ tenant: at.other.id }))).toBe('NOT_FOUND')
  const id = await at.start()
  await at.catalog.restores.withdraw({ id })
  expect((await at.list()).restores).toEqual([])
  expect(await at.told()).toEqual([])
})

test('after a crash all that ran have failed, and are told', async () => {
  await using at = await made()
  const [one, other] = [await at.start(), await at.start()]
  await at.catalog.restores.end({
    id: one,
    error: { code: 'CANCELLED', message: 'by ann' },
    disks: [DISK],
    nowMs: 2000,
  })
  expect(await at.catalog.restores.abandon({ nowMs: 3000 })).toBe(1)
  expect(await at.catalog.restores.abandon({ nowMs: 4000 })).toBe(0)
  expect(await at.catalog.restores.get({ tenant: at.acme.id, id: other })).toMatchObject({
    state: 'failed',
    endedMs: 3000,
    error: { code: 'GOING_AWAY' },
  })
  expect((await at.told()).map(({ severity }) => severity)).toEqual(['warning', 'error'])
})

test('so many run at once, and so many are kept; pages follow one another', async () => {
  await using at = await made()
  const running = []
  for (let index = 0; index < RESTORES_RUNNING_MAX; index++) running.push(await at.start({ nowMs: 5_000_000 }))
  expect(await codeOf(at.start())).toBe('LIMIT_REACHED')
  for (const id of running.slice(1)) await at.catalog.restores.end({ id, error: null, disks: [DISK], nowMs: 6_000_000 })
  for (let index = 0; index < RESTORES_KEPT_MAX; index++) {
    const id = await at.start({ nowMs: 10_000 + index })
    await at.catalog.restores.end({ id, error: null, disks: [DISK], nowMs: 20_000 })
  }
  const seen: string[] = []
  let after: { startedMs: number; id: string } | null = null
  do {
    const { restores, more }: Awaited<ReturnType<typeof at.list>> = await at.list({ after, limit: 250 })
    seen.push(...restores.map(({ id }) => id))
    const last = restores.at(-1)!
    after = more ? { startedMs: last.startedMs, id: last.id } : null
  } while (after !== null)
  expect(new Set(seen).size).toBe(seen.length)
  expect(seen).toHaveLength(RESTORES_KEPT_MAX)
  // what runs is never removed
  expect(seen).toContain(running[0])
})

test('a page ends before its disks are too much to answer, and one row always goes', async () => {
  await using at = await made()
  const to = (index: number): string => `/${String(index).padStart(4, '0')}${'x'.repeat(4090)}`
  const disks = Array.from({ length: 160 }, (_, index) => ({ ...DISK, disk: `d${index}`, to: to(index) }))
  for (let index = 0; index < 3; index++) {
    const id = await at.start({ nowMs: 10_000 + index })
    await at.catalog.restores.end({ id, error: null, disks, nowMs: 20_000 })
  }
  const page = await at.list({ limit: 250 })
  expect([page.restores.length, page.more]).toEqual([1, true])
  const all = await at.list({ limit: 1 })
  expect([all.restores.length, all.more]).toEqual([1, true])
})
