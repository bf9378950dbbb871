// A third program reads a machine through `varve-agent lease`: what it finds in its environment, how its end decides, and what is
// left when somebody is interrupted or killed. Method: whole processes, a real QEMU, shell commands with nbdcopy.
import { readFile, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { KIB, MIB } from '../support/model-machine.ts'
import type { Host } from '../support/stand-host.ts'
import { isAlive, Program } from '../support/stand-program.ts'
import { Stand } from '../support/stand.ts'
import { eventually } from '../support/temp.ts'

let stand: Stand
let host: Host
let file: (name: string) => string

beforeAll(async () => {
  stand = await Stand.start()
  host = await stand.addHost({ settings: { whileOff: true } })
  file = (name) => `${host.folder}/${name}`
  await host.addMachine('db1', [{ id: 'vda', format: 'qcow2', size: MIB }])
  await host.start()
  await host.backup('db1', '--wait')
})

afterAll(() => stand[Symbol.asyncDispose]())

/** `varve-agent lease db1 --target t`, with a shell script. */
const lease = (script: string, ...flags: readonly string[]): Program =>
  new Program('agent', [
    'lease',
    'db1',
    '--target',
    't',
    '--config',
    host.configFile,
    ...flags,
    '--',
    'sh',
    '-c',
    script,
  ])

interface Held {
  readonly lease: string
  readonly target: string
}

const heldNow = async (): Promise<Held | null> => {
  const { machines } = JSON.parse((await host.done('status', '--json')).stdout) as {
    machines: { lease: string | null; target: string | null }[]
  }
  const [{ lease: id, target } = { lease: null, target: null }] = machines
  return id === null || target === null ? null : { lease: id, target }
}

/** Nothing of a lease is left but the bitmap of a success. */
const nothingLeft = async (): Promise<void> => {
  await eventually(async () => (await heldNow()) === null)
  const { control } = host.machine('db1').qemu
  expect(await control.execute('query-block-exports')).toEqual([])
  expect(await control.execute('query-jobs')).toEqual([])
  expect(await host.residue()).toMatchObject({ scratch: [], journal: [] })
}

beforeEach(() => nothingLeft())

const env = async (): Promise<Record<string, string>> =>
  Object.fromEntries(
    (await readFile(file('env'), 'utf8'))
      .split('\n')
      .filter((line) => line.startsWith('VARVE_LEASE_'))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)] as const),
  )

test('the command reads the machine as it was; success and failure decide what the next one reads', async () => {
  const copy = `nbdcopy "$VARVE_LEASE_DISK_0_URI" ${file('copy')} && env > ${file('env')}`
  const first = await lease(copy).ended
  expect([first.code, first.stderr]).toEqual([
    0,
    expect.stringMatching(/target t holds lease [0-9a-f]{8} of db1 at .* vda 1\.0 MiB full \(first\)/u),
  ])
  const found = await env()
  expect(found).toMatchObject({
    VARVE_LEASE_MACHINE: 'db1',
    VARVE_LEASE_TARGET: 't',
    VARVE_LEASE_DISKS: '1',
    VARVE_LEASE_BASE: '',
    VARVE_LEASE_DISK_0_NAME: 'vda',
    VARVE_LEASE_DISK_0_KIND: 'full',
    VARVE_LEASE_DISK_0_REASON: 'first',
    VARVE_LEASE_DISK_0_CHANGED: '',
  })
  expect(JSON.parse(found['VARVE_LEASE_JSON']!)).toMatchObject({ lease: found['VARVE_LEASE_ID'], records: true })
  expect(await readFile(file('copy'))).toHaveLength(MIB)
  await nothingLeft()

  await host.machine('db1').write('vda', 0, Buffer.alloc(64 * KIB, 7))
  const map = `nbdinfo --map="$VARVE_LEASE_DISK_0_CHANGED" "$VARVE_LEASE_DISK_0_URI" > ${file('map')}`
  const failed = await lease(`${map}; exit 9`).ended
  expect([failed.code, failed.stderr]).toEqual([9, expect.stringContaining('the command ended with exit code 9')])
  const changed = async (): Promise<string[]> =>
    (await readFile(file('map'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => line.trim().replaceAll(/ +/gu, ' '))
  expect((await changed())[0]).toBe('0 65536 1 dirty')
  expect((await lease(map).ended).code).toBe(0)
  expect((await changed())[0]).toBe('0 65536 1 dirty')
  expect((await lease(map).ended).code).toBe(0)
  expect((await changed())[0]).toMatch(/ 0 clean$/u)
  // Varve's own chain has noticed nothing
  const { disks: own } = await host.backup('db1')
  expect(own).toMatchObject([{ kind: 'incremental', reason: 'bitmap' }])
  const { targets } = JSON.parse((await host.done('targets', 'db1', '--json')).stdout) as {
    targets: { target: string }[]
  }
  expect(targets.map(({ target }) => target)).toEqual(['t'])
  expect((await host.done('targets', 'db1')).stdout).toMatch(/^t +\d{4}-.* +-$/mu)
})

test('while it is held a backup is refused, which names it; an interruption fails it and leaves nothing', async () => {
  const holding = lease(`touch ${file('held')}; exec sleep 1000`)
  await holding.says(/holds lease/)
  const held = (await heldNow())!
  expect(held.target).toBe('t')
  expect((await host.done('status', 'db1')).stdout).toContain(`lease ${held.lease.slice(0, 8)} held by target t`)
  expect((await host.done('status', '--local')).stdout).toMatch(/^Lease: db1, .*, held by target t, until /mu)
  const refused = await host.run('backup', 'db1')
  expect([refused.code, refused.stderr]).toEqual([
    5,
    expect.stringContaining(`lease ${held.lease} of target t holds machine db1`),
  ])
  const second = await lease('true').ended
  expect([second.code, second.stderr]).toEqual([5, expect.stringContaining('(LEASE_HELD)')])
  const [child] = await eventually(async () => {
    const found = await holding.children()
    return found.length > 0 ? found : null
  })
  holding.signal('SIGINT')
  expect(await holding.ended).toMatchObject({ code: 130 })
  expect(await isAlive(child!)).toBe(false)
  await nothingLeft()
})

test('whoever is killed, the machine is free again: the command by its time, the agent by its journal', async () => {
  const killed = lease('exec sleep 1000', '--ttl', '10s')
  await killed.says(/holds lease/)
  const [child] = await eventually(async () => {
    const found = await killed.children()
    return found.length > 0 ? found : null
  })
  await killed.end('SIGKILL')
  await eventually(async () => !(await isAlive(child!)))
  await nothingLeft()

  const going = lease(
    `until [ -e ${file('go')} ]; do sleep 0.1; done; nbdcopy "$VARVE_LEASE_DISK_0_URI" ${file('copy')}`,
  )
  await going.says(/holds lease/)
  const before = (await heldNow())!.lease
  await host.end('SIGKILL')
  await host.start()
  await eventually(async () => (await heldNow())?.lease === before)
  await writeFile(file('go'), '')
  expect(await going.ended).toMatchObject({ code: 0 })
  await nothingLeft()
})

test('a machine that is off is read as it lies, and a target is forgotten with its bitmaps', async () => {
  await host.machine('db1').qemu.quit()
  const { code, stderr } = await lease(
    `nbdcopy "$VARVE_LEASE_DISK_0_URI" ${file('copy')}; echo "$VARVE_LEASE_JSON" > ${file('json')}`,
  ).ended
  expect([code, stderr]).toEqual([0, expect.stringContaining('vda 1.0 MiB')])
  expect(JSON.parse(await readFile(file('json'), 'utf8'))).toMatchObject({ records: false, consistency: 'crash' })
  const kept = await host.run('targets', 'db1', '--remove', 't')
  expect([kept.code, kept.stderr]).toEqual([5, expect.stringContaining('(MACHINE_OFF)')])
  await host.machine('db1').qemu.start()
  await eventually(async () => (await host.run('targets', 'db1', '--remove', 't')).code === 0)
  expect((await host.done('targets', 'db1')).stdout).toBe('Machine db1 has no targets.\n')
})
