// Which restore point a backup continues: one with a checkpoint where there is any, of its own agent first.
import { expect, test } from 'vitest'
import type { Catalog } from '../../../../gateway/catalog/catalog.ts'
import type { MachineRow } from '../../../../gateway/catalog/machines.ts'
import type { Tenant } from '../../../../gateway/catalog/tenants.ts'
import { testAuthority } from '../../auth/test-authority.ts'
import {
  addAgent,
  addMachine,
  addPoint,
  assignMachine,
  BEGUN,
  beginJob,
  incrementalDisk,
  startJob,
} from '../../catalog.ts'

/** The base of a new job of the machine, which is ended. */
const baseOf = async (catalog: Catalog, tenant: Tenant, { name, agent }: MachineRow) => {
  const id = crypto.randomUUID()
  const args = { id, tenant: tenant.id, machine: name, agent, subject: 's', full: false, compare: false, nowMs: 99 }
  const { base } = await catalog.jobs.start(args)
  await catalog.jobs.fail({ job: id, agent, code: 'X', message: '', nowMs: 99 })
  return base
}

test('a point without a checkpoint is continued only where the machine has no other', async () => {
  const { catalog, acme: tenant, [Symbol.asyncDispose]: dispose } = await testAuthority()
  await using _ = { [Symbol.asyncDispose]: dispose }
  const agent = await addAgent(catalog, tenant)
  const machine = await addMachine(catalog, tenant, agent, 'db1')
  expect(await baseOf(catalog, tenant, machine)).toBeNull()
  const off = await addPoint(catalog, tenant, machine, { checkpoint: false })
  const disks = [{ name: 'vda', size: 4096 }]
  expect(await baseOf(catalog, tenant, machine)).toEqual({ point: off, agent, checkpoint: false, disks })
  const running = await addPoint(catalog, tenant, machine)
  expect(await baseOf(catalog, tenant, machine)).toEqual({ point: running, agent, checkpoint: true, disks })
  for (let times = 0; times < 2; times += 1) {
    await addPoint(catalog, tenant, machine, { checkpoint: false })
    expect(await baseOf(catalog, tenant, machine)).toMatchObject({ point: running, checkpoint: true })
  }
  const next = await addPoint(catalog, tenant, machine)
  expect(await baseOf(catalog, tenant, machine)).toMatchObject({ point: next })
})

test('another agent’s checkpoint is continued where this one has none, and named as that one’s', async () => {
  const { catalog, acme: tenant, [Symbol.asyncDispose]: dispose } = await testAuthority()
  await using _ = { [Symbol.asyncDispose]: dispose }
  const [first, second] = [await addAgent(catalog, tenant), await addAgent(catalog, tenant)]
  const machine = await addMachine(catalog, tenant, first, 'db1')
  const theirs = await addPoint(catalog, tenant, machine)
  await assignMachine(catalog, tenant, second, 'db1')
  const moved = { ...machine, agent: second }
  expect(await baseOf(catalog, tenant, moved)).toMatchObject({ point: theirs, agent: first, checkpoint: true })
  // what this agent only read does not take its place
  await addPoint(catalog, tenant, moved, { checkpoint: false })
  expect(await baseOf(catalog, tenant, moved)).toMatchObject({ point: theirs, agent: first, checkpoint: true })
  const own = await addPoint(catalog, tenant, moved)
  expect(await baseOf(catalog, tenant, moved)).toMatchObject({ point: own, agent: second })
})

test('nothing is incremental to a point without a checkpoint; a backup that only reads is, to one with', async () => {
  const { catalog, acme: tenant, [Symbol.asyncDispose]: dispose } = await testAuthority()
  await using _ = { [Symbol.asyncDispose]: dispose }
  const agent = await addAgent(catalog, tenant)
  const machine = await addMachine(catalog, tenant, agent, 'db1')
  await addPoint(catalog, tenant, machine, { checkpoint: false })
  const wrong = { id: await startJob(catalog, tenant, machine), agent }
  await expect(beginJob(catalog, wrong, [incrementalDisk('vda', 4096)])).rejects.toMatchObject({
    code: 'UPLOAD_INVALID',
    message: expect.stringContaining('without a checkpoint'),
  })
  await catalog.jobs.fail({ job: wrong.id, agent, code: 'X', message: '', nowMs: 99 })
  await addPoint(catalog, tenant, machine)
  const right = { id: await startJob(catalog, tenant, machine), agent }
  await beginJob(catalog, right, [incrementalDisk('vda', 4096)], { checkpoint: false })
  expect(
    (await catalog.jobs.complete({ job: right.id, agent }).catch((error: unknown) => error)) as Error,
  ).toMatchObject({
    code: 'IMAGE_INCOMPLETE',
  })
  // said again with another checkpoint it is another lease
  await expect(beginJob(catalog, right, [incrementalDisk('vda', 4096)], BEGUN)).rejects.toMatchObject({
    code: 'UPLOAD_INVALID',
  })
})

test('of a machine that moves within a site, the point made last by any of its agents is continued', async () => {
  const { catalog, acme: tenant, [Symbol.asyncDispose]: dispose } = await testAuthority()
  await using _ = { [Symbol.asyncDispose]: dispose }
  const [first, second] = [await addAgent(catalog, tenant), await addAgent(catalog, tenant)]
  const machine = await addMachine(catalog, tenant, first, 'db1')
  const own = await addPoint(catalog, tenant, machine)
  await assignMachine(catalog, tenant, second, 'db1')
  const theirs = await addPoint(catalog, tenant, { ...machine, agent: second })
  await assignMachine(catalog, tenant, first, 'db1')
  // whose bitmaps cannot be here
  expect(await baseOf(catalog, tenant, machine)).toMatchObject({ point: own, agent: first })
  const put = (id: string, site: string | null) => catalog.agents.setSite({ tenant: tenant.id, id, site })
  await put(first, 'dc1')
  await put(second, 'dc2')
  expect(await baseOf(catalog, tenant, machine)).toMatchObject({ point: own })
  await put(second, 'dc1')
  expect(await baseOf(catalog, tenant, machine)).toMatchObject({ point: theirs, agent: second })
  await assignMachine(catalog, tenant, second, 'db1')
  await addPoint(catalog, tenant, { ...machine, agent: second }, { checkpoint: false })
  await assignMachine(catalog, tenant, first, 'db1')
  expect(await baseOf(catalog, tenant, machine)).toMatchObject({ point: theirs })
})

test('a machine that went over after its agent was looked up has no backup begun by that agent', async () => {
  const { catalog, acme: tenant, [Symbol.asyncDispose]: dispose } = await testAuthority()
  await using _ = { [Symbol.asyncDispose]: dispose }
  const [first, second] = [await addAgent(catalog, tenant), await addAgent(catalog, tenant)]
  const machine = await addMachine(catalog, tenant, first, 'db1')
  await addPoint(catalog, tenant, machine)
  const now = await assignMachine(catalog, tenant, second, 'db1')
  await expect(startJob(catalog, tenant, machine)).rejects.toMatchObject({ code: 'MACHINE_MOVING' })
  expect(now.job).toBe(null)
  expect(await startJob(catalog, tenant, now)).toEqual(expect.any(String))
})
