// Whether a machine is on its way: two real QEMUs with one disk between them, and scripted answers for what passes too fast.

import { mkdir } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { findMove, findMoved, refuseMoving, uuidOf } from '../../../../agent/drivers/qmp/run-state.ts'
import type { QmpCaller } from '../../../../agent/qmp/client.ts'
import { TestMachine, type TestDisk } from '../../../support/qemu.ts'
import { eventually, tempFolder, type TempFolder } from '../../../support/temp.ts'

const MIB = 1024 * 1024

interface Pair extends AsyncDisposable {
  readonly source: TestMachine
  readonly destination: TestMachine
  /** Begins to move the source to the destination. */
  migrate(): Promise<void>
}

/** A machine, and the QEMU that it may move to, over the same image. */
const pairOf = async (folder: TempFolder): Promise<Pair> => {
  await using resources = new AsyncDisposableStack()
  const disk: TestDisk = { id: 'vda', format: 'qcow2', file: folder.join('a.qcow2'), size: 4 * MIB }
  const machine = async (name: string): Promise<TestMachine> => {
    await mkdir(folder.join(name))
    return resources.use(new TestMachine({ folder: folder.join(name), disks: [disk] }))
  }
  const [source, destination] = [await machine('source'), await machine('destination')]
  await source.start()
  const uri = `unix:${folder.join('migration')}`
  await destination.start({ extra: ['-incoming', uri] })
  const all = resources.move()
  return {
    source,
    destination,
    migrate: async () => void (await source.control.execute('migrate', { uri })),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

const migrationOf = async ({ control }: TestMachine): Promise<string | undefined> =>
  ((await control.execute('query-migrate')) as { status?: string }).status

const codeOf = async (refusing: Promise<void>): Promise<unknown> =>
  refusing.then(
    () => 'none',
    (error: unknown) => (error as { code?: unknown }).code,
  )

describe('two real QEMUs', () => {
  test('a machine that stays is not refused, whatever state it is in', async () => {
    await using folder = await tempFolder()
    await using source = new TestMachine({
      folder: folder.path,
      disks: [{ id: 'vda', format: 'qcow2', file: folder.join('a.qcow2'), size: MIB }],
    })
    await source.start()
    for (const [change, state] of [
      [null, 'prelaunch'],
      ['cont', 'running'],
      ['stop', 'paused'],
    ] as const) {
      if (change !== null) await source.control.execute(change)
      expect(await source.control.execute('query-status')).toMatchObject({ status: state })
      expect(await findMove(source.control)).toBe(null)
      await refuseMoving(source.control, 'db1')
    }
    // a migration that could not begin
    const nowhere = `unix:${folder.join('nowhere')}`
    await source.control.execute('migrate', { uri: nowhere }).catch(() => undefined)
    await eventually(async () => (await migrationOf(source)) === 'failed')
    await refuseMoving(source.control, 'db1')
  })

  test('one that waits for a machine, and one whose machine has gone there, are refused by name', async () => {
    await using folder = await tempFolder()
    await using pair = await pairOf(folder)
    const { source, destination } = pair
    expect(await findMoved(destination.control)).toMatch(/^it is waiting for a machine .*\(run state inmigrate\)$/)
    await expect(refuseMoving(destination.control, 'db1')).rejects.toMatchObject({
      code: 'MACHINE_MOVING',
      message: expect.stringMatching(
        /^machine db1 is not backed up from here: it is waiting for .*; back it up on the host/,
      ),
      details: { machine: 'db1' },
    })
    await refuseMoving(source.control, 'db1')
    await source.control.execute('cont')
    await pair.migrate()
    await eventually(async () => (await migrationOf(source)) === 'completed')
    expect(await source.control.execute('query-status')).toMatchObject({ status: 'postmigrate' })
    expect(await findMoved(source.control)).toMatch(/^it has migrated to another host, .*\(run state postmigrate\)$/)
    await expect(refuseMoving(source.control, 'db1')).rejects.toMatchObject({
      code: 'MACHINE_MOVING',
      message: expect.stringContaining('postmigrate'),
    })
    // it is there now
    await eventually(async () => (await findMove(destination.control)) === null)
    await refuseMoving(destination.control, 'db1')
    // and here again, once the other one is gone
    await destination.quit()
    await source.control.execute('cont')
    expect(await findMove(source.control)).toBe(null)
    await refuseMoving(source.control, 'db1')
  })

  test('one that is being moved is refused, and not any more when that was given up', async () => {
    await using folder = await tempFolder()
    await using pair = await pairOf(folder)
    const { source } = pair
    await source.control.execute('cont')
    await source.control.execute('migrate-set-parameters', { 'max-bandwidth': 4096 })
    await pair.migrate()
    await eventually(async () => (await migrationOf(source)) === 'active')
    expect(await findMove(source.control)).toBe('it is moving to another host (migration active)')
    // its disks are still its own
    expect(await findMoved(source.control)).toBe(null)
    expect(await codeOf(refuseMoving(source.control, 'db1'))).toBe('MACHINE_MOVING')
    await source.control.execute('migrate_cancel')
    await eventually(async () => (await migrationOf(source)) === 'cancelled')
    await refuseMoving(source.control, 'db1')
  })
})

/** A QEMU that answers so. */
const answering = (status: unknown, migration: unknown): QmpCaller => ({
  version: { major: 7, minor: 2, micro: 0 },
  closed: new Promise(() => undefined),
  subscribe: () => () => undefined,
  execute: async (command) => (command === 'query-status' ? status : migration),
})

describe('scripted answers', () => {
  const RUN_STATES =
    'debug inmigrate internal-error io-error paused postmigrate prelaunch finish-migrate restore-vm running save-vm shutdown suspended watchdog guest-panicked colo'
  const MOVING = ['inmigrate', 'postmigrate', 'finish-migrate', 'colo']

  test.each(RUN_STATES.split(' '))('run state %s', async (status) => {
    const client = answering({ status, running: true }, {})
    const expected = MOVING.includes(status) ? 'MACHINE_MOVING' : 'none'
    expect(await codeOf(refuseMoving(client, 'db1'))).toBe(expected)
    expect((await findMoved(client)) === null).toBe(expected === 'none')
    if (expected !== 'none') expect(await findMove(client)).toContain(`(run state ${status})`)
  })

  const MIGRATIONS =
    'none setup cancelling cancelled active postcopy-active postcopy-paused postcopy-recover completed failed colo pre-switchover device wait-unplug'
  const ENDED = ['none', 'completed', 'failed', 'cancelled']

  test.each(MIGRATIONS.split(' '))('migration %s', async (status) => {
    const client = answering({ status: 'running' }, { status })
    expect(await codeOf(refuseMoving(client, 'db1'))).toBe(ENDED.includes(status) ? 'none' : 'MACHINE_MOVING')
    expect(await findMoved(client)).toBe(null)
  })

  test('what is not an answer of QEMU is an error', async () => {
    for (const client of [answering({}, {}), answering(null, {}), answering({ status: 'running' }, { status: 7 })])
      expect(await codeOf(refuseMoving(client, 'db1'))).toBe('QMP_PROTOCOL')
  })
})

describe('the uuid', () => {
  const saying = (UUID: unknown): QmpCaller => ({ ...answering({}, {}), execute: async () => ({ UUID }) })

  test('is the one that QEMU was started with, in lower case, or none', async () => {
    const uuid = '0f0f0f0f-ABCD-4abc-8abc-ABCDEF012345'
    await using folder = await tempFolder()
    const disks: TestDisk[] = [{ id: 'vda', format: 'raw', file: folder.join('a.raw'), size: MIB }]
    await using machine = new TestMachine({ folder: folder.path, disks, extra: ['-uuid', uuid] })
    await machine.start()
    expect(await uuidOf(machine.control)).toBe(uuid.toLowerCase())
    await machine.restart({ extra: [] })
    expect(await uuidOf(machine.control)).toBeNull()
  })

  test.each([null, 7, '', 'x', '0f0f0f0f-abcd-4abc-8abc-abcdef01234', `${'0'.repeat(36)}\n`])(
    '%j is not one',
    async (text) => {
      await expect(uuidOf(saying(text))).rejects.toMatchObject({ code: 'QMP_PROTOCOL' })
    },
  )
})
