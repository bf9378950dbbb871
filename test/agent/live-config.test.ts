// A running agent whose machines are those of its file and those of a real libvirt, as both change.
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { parseConfig, type AgentConfig } from '../../agent/config.ts'
import { LiveConfig, type SharedConfig } from '../../agent/live-config.ts'
import { openLog } from '../../protocol/host/log.ts'
import type { Peer } from '../../protocol/peer.ts'
import { HandClock } from '../support/hand-clock.ts'
import { startLibvirt, type TestDomain, type TestLibvirt } from '../support/libvirt.ts'
import { PlayedLibvirt } from '../support/played-libvirt.ts'
import { Stand } from '../support/stand.ts'
import type { Host } from '../support/stand-host.ts'
import { eventually, tempFolder, type TempFolder } from '../support/temp.ts'

const MIB = 1024 * 1024

interface Scene extends AsyncDisposable {
  readonly temp: TempFolder
  readonly libvirt: TestLibvirt
  readonly host: Host
  readonly owner: Peer
}

const scene = async (): Promise<Scene> => {
  await using resources = new AsyncDisposableStack()
  const temp = resources.use(await tempFolder('d'))
  const libvirt = resources.use(await startLibvirt({ folder: temp.path }))
  const stand = resources.use(await Stand.start())
  const host = await stand.addHost()
  const owner = await stand.peer()
  const all = resources.move()
  return { temp, libvirt, host, owner, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

const define = (libvirt: TestLibvirt, name: string): Promise<TestDomain> =>
  libvirt.define({
    name,
    disks: [{ target: 'vda', format: 'qcow2', file: `${libvirt.folder}/${name}.qcow2`, size: MIB }],
  })

const write = ({ host }: Scene, ...more: readonly string[]): Promise<void> => {
  const top = [
    `gateway = "ws://127.0.0.1:${host.link.port}"`,
    `state = "${host.stateFolder}"`,
    'scratch_reserve = "1 MiB"',
  ]
  return writeFile(host.configFile, [...top, ...more, ''].join('\n'))
}

const follow = ({ libvirt }: Scene, ...more: readonly string[]): string =>
  ['[discover]', `libvirt = "${libvirt.uri}"`, ...more].join('\n')

/** Names of the machines that the agent serves, as the gateway knows them. */
const served = async ({ owner }: Scene): Promise<string> =>
  (await owner.call('machines.list', {})).machines
    .filter(({ online }) => online)
    .map(({ name }) => name)
    .toSorted()
    .join(' ')

const serves = (at: Scene, names: string): Promise<unknown> => eventually(async () => (await served(at)) === names)

test('domains come and go without an edit, and a libvirtd that restarts takes none away', async () => {
  await using at = await scene()
  const { libvirt, host } = at
  await define(libvirt, 'web-1')
  await define(libvirt, 'test-1')
  await write(at, follow(at, 'include = ["web-*", "test-*"]', 'exclude = ["test-*"]'))
  host.launch()
  await serves(at, 'web-1')
  const second = await define(libvirt, 'web-2')
  await serves(at, 'web-1 web-2')
  // the commands know it as well as one that is written down
  const status = await host.done('status', '--json')
  expect((JSON.parse(status.stdout) as { machines: { name: string }[] }).machines.map(({ name }) => name)).toEqual([
    'web-1',
    'web-2',
  ])
  expect((await host.run('status', 'web-3')).stderr).toContain('did you mean "web-1"?')
  await libvirt.restart()
  await host.agent.says(/libvirt is back|"libvirt":"up"/)
  await serves(at, 'web-1 web-2')
  await second.undefine()
  await eventually(async () => {
    const answer = await at.owner.call('machines.status', { machine: 'web-2' }).catch((error: Error) => error.message)
    return typeof answer === 'string' && answer.includes('no machine "web-2"')
  })
  await define(libvirt, 'web-3')
  await eventually(async () => (await served(at)).includes('web-3'))
})

test('what is written down goes first, and SIGHUP changes what is followed', async () => {
  await using at = await scene()
  const { libvirt, host } = at
  await define(libvirt, 'a')
  await define(libvirt, 'b')
  await write(at, follow(at), '[[machine]]', 'name = "mine"', 'domain = "a"', `uri = "${libvirt.uri}"`)
  host.launch()
  await serves(at, 'b mine')
  await write(at, follow(at, 'include = ["c"]'))
  host.agent.signal('SIGHUP')
  await host.agent.says(/"taken":\["discover","machine mine","machine b"\]/)
  await define(libvirt, 'c')
  await eventually(async () => (await served(at)).includes('c'))
  await write(at, '[[machine]]', 'name = "c"', `qmp = "${at.temp.join('c')}"`)
  host.agent.signal('SIGHUP')
  await eventually(async () =>
    (await at.owner.call('machines.status', { machine: 'c' })).problem?.includes(at.temp.join('c')),
  )
})

test('a domain that is taken up has a state, and forget works on it', async () => {
  await using at = await scene()
  const { libvirt, host } = at
  const domain = await define(libvirt, 'web-1')
  await domain.start({ running: true })
  await write(at, follow(at))
  host.launch()
  await serves(at, 'web-1')
  const { stdout } = await host.done('status', 'web-1', '--json')
  expect((JSON.parse(stdout) as { machines: unknown[] }).machines).toMatchObject([
    { name: 'web-1', reachable: true, runState: 'running', disks: [{ name: 'vda' }] },
  ])
  expect(JSON.parse((await host.done('forget', 'web-1', '--json')).stdout)).toEqual({
    machine: 'web-1',
    removed: [],
    left: [],
  })
  // also where no agent runs
  await host.end('SIGTERM')
  expect(JSON.parse((await host.done('forget', 'web-1', '--json')).stdout)).toEqual({
    machine: 'web-1',
    removed: [],
    left: [],
  })
  await libvirt.stop()
  const away = await host.run('forget', 'web-1')
  expect(away.code).not.toBe(0)
  expect(away.stderr).toContain('the machines of [discover] are not known')
})

interface Played {
  readonly libvirt: PlayedLibvirt
  readonly live: LiveConfig
  readonly config: SharedConfig
  readonly clock: HandClock
  readonly busy: Set<string>
  readonly done: string[]
}

const read = (more: string): AgentConfig => parseConfig('test', `gateway = "wss://x"\nlog_level = "silent"\n${more}`)

const played = (first: AgentConfig): Played => {
  const libvirt = new PlayedLibvirt()
  const clock = new HandClock()
  const busy = new Set<string>()
  const done: string[] = []
  const config: SharedConfig = { ...first, machines: [...first.machines], relay: [...first.relay] }
  const live = new LiveConfig({
    config,
    driverOf: ({ driver }) => ({
      attach: ({ name }) => void done.push(`attach ${driver} ${name}`),
      detach: ({ name }) => void done.push(`detach ${driver} ${name}`),
    }),
    isBusy: (machine) => busy.has(machine),
    onMachine: (machine) => void done.push(`tell ${machine}`),
    onReconnect: () => void done.push('reconnect'),
    clock,
    log: openLog({ level: 'silent' }),
    open: () => libvirt,
  })
  return { libvirt, live, config, clock, busy, done }
}

const FOLLOW = '[discover]\nlibvirt = "qemu:///system"\n'

test('a domain that is gone is dropped once its backup has ended', async () => {
  const { libvirt, live, config, clock, busy, done } = played(read(FOLLOW))
  libvirt.domains = ['a']
  await live.start()
  expect(done.splice(0)).toEqual(['attach libvirt a', 'tell a'])
  busy.add('a')
  libvirt.domains = []
  libvirt.happens('undefined')
  await clock.advanceSettled(30_000)
  expect(config.machines).toMatchObject([{ name: 'a' }])
  expect(done).toEqual([])
  busy.clear()
  await clock.advanceSettled(5000)
  expect(config.machines).toEqual([])
  expect(done).toEqual(['detach libvirt a', 'tell a'])
  await live[Symbol.asyncDispose]()
  expect(clock.waiting).toBe(0)
})

test('a machine gets another driver, at once or after its backup, and keys of its own', async () => {
  const { live, config, clock, busy, done } = played(read('[[machine]]\nname = "a"\nqmp = "/run/a"\n'))
  await live.start()
  const disks = 'disks = [{ name = "vda", path = "/a.qcow2" }]\n'
  live.reload(read(`[[machine]]\nname = "a"\nqmp = "/run/a"\nattach = ["/etc/a"]\n${disks}`))
  // the same monitor: nothing to let go of
  expect(done).toEqual([])
  expect(config.machines).toMatchObject([
    { attach: ['/etc/a'], keys: { qmp: '/run/a', disks: [{ path: '/a.qcow2' }] } },
  ])
  live.reload(read(`[[machine]]\nname = "a"\ndriver = "offline"\n${disks}`))
  expect(done.splice(0)).toEqual(['detach qmp a', 'attach offline a', 'tell a', 'tell a'])
  live.reload(read(`[[machine]]\nname = "a"\nsnapshot = "lvm"\n${disks}`))
  expect(done).toEqual([])
  expect(config.machines).toMatchObject([{ driver: 'offline', keys: { snapshot: 'lvm' } }])
  busy.add('a')
  live.reload(read('[[machine]]\nname = "a"\ndomain = "a"\n'))
  expect(config.machines).toMatchObject([{ driver: 'offline' }])
  busy.clear()
  await clock.advanceSettled(5000)
  expect(config.machines).toMatchObject([{ driver: 'libvirt', keys: { domain: 'a', uri: 'qemu:///system' } }])
  expect(done).toEqual(['detach offline a', 'attach libvirt a', 'tell a', 'tell a'])
})

test('[discover] comes and goes with a reload, and a libvirt that hangs holds no start up for long', async () => {
  const { libvirt, live, config, clock, done } = played(read(''))
  await live.start()
  libvirt.domains = ['a']
  live.reload(read(FOLLOW))
  await clock.advanceSettled(1)
  expect(config.machines).toMatchObject([{ name: 'a' }])
  expect(config.discover).toMatchObject({ libvirt: 'qemu:///system' })
  live.reload(read(''))
  expect(config.machines).toEqual([])
  expect(config.discover).toBe(undefined)
  expect(done).toEqual(['attach libvirt a', 'tell a', 'detach libvirt a', 'tell a'])
  const hung = played(read(FOLLOW))
  hung.libvirt.gate = new Promise(() => {})
  const started = hung.live.start()
  await hung.clock.advanceSettled(5000)
  await started
})
