// A real libvirtd of its own in a temporary folder, and domains without an operating system whose guest writes the test makes
// by hand.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, chown, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { LibvirtConnection } from '../../agent/libvirt/connection.ts'
import type { LibvirtDomain } from '../../agent/libvirt/types.ts'
import { xml, type Xml } from '../../agent/libvirt/xml.ts'
import { processesOf } from './leftovers.ts'
import {
  createTransient,
  defineDomain,
  destroyDomain,
  humanCommand,
  setAutostart,
  startDomain,
  suspendDomain,
  undefineDomain,
} from './libvirt-calls.ts'
import { run } from './run.ts'
import { eventually } from './temp.ts'

/** Debian's user and group of nobody: whom the daemon of a session and its QEMUs run as when the tests run as root. */
const NOBODY = 65_534

/**
 * Numbers of the user libvirt-qemu, of the group libvirt and of a user varve, which exist in the mount namespace of a system
 * daemon alone: it knows neither clients nor QEMUs of users that have no name.
 */
export const QEMU_USER = { uid: 64_055, gid: 64_055 }
export const LIBVIRT_GROUP = 64_056
export const AGENT_USER = { uid: 64_057, gid: 64_057 }

/** What libvirt learned of the emulators, kept between runs: asking QEMU takes a second and more. */
const CAPABILITIES = path.resolve(import.meta.dirname, '../../node_modules/.cache/libvirt-capabilities')

/** Makes what QEMU prints come line by line, so that the outcome of a guest write is seen at once. */
const LINE_BUFFER = '/usr/libexec/coreutils/libstdbuf.so'

const LIBVIRTD_CONF = `auth_unix_rw = "none"
unix_sock_rw_perms = "0777"
`

const QEMU_CONF = `security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
`

/**
 * Starts a program, prints its process id, and collects the QEMUs that it leaves, as init does not do at once everywhere:
 * libvirt takes one that has ended for running until it is collected. The number is that of the system call prctl.
 */
const COLLECTOR = `$| = 1;
syscall(shift, 36, 1, 0, 0, 0);
my $child = fork;
if ($child == 0) { exec @ARGV or die "$ARGV[0]: $!" }
print "$child\\n";
while ((my $ended = wait) != -1) { last if $ended == $child }`
const PRCTL = process.arch === 'arm64' ? '167' : '157'

/** Where root may use KVM and the QEMUs' user may not, libvirt asks QEMU all again at each call. */
const HIDE_KVM = 'if [ -e /dev/kvm ]; then mount --bind no-kvm /dev/kvm; fi'

export interface TestLibvirtOptions {
  /** An empty folder with a short path. */
  readonly folder: string
  /** `session` is a user's own; `system` is root's, in a mount namespace of its own. */
  readonly mode?: 'session' | 'system'
  /** In a process group of its own, so that a Ctrl-C in the terminal leaves it to whoever started it. */
  readonly detached?: boolean
  /** More lines for libvirtd.conf and qemu.conf; they win over the rig's own. */
  readonly libvirtdConf?: string
  readonly qemuConf?: string
}

export interface TestDomainDisk {
  /** Such as `vda`. */
  readonly target: string
  readonly format: 'qcow2' | 'raw'
  readonly file: string
  /** Size in bytes of the file that is made when there is none. */
  readonly size: number
}

export interface TestDomainOptions {
  readonly name: string
  readonly uuid?: string
  readonly disks: readonly TestDomainDisk[]
  /** More of <devices>, <os> and <domain>. */
  readonly devices?: Xml
  readonly os?: Xml
  readonly more?: Xml
}

const diskXml = ({ target, format, file }: TestDomainDisk): Xml => xml`
    <disk type='file' device='disk'>
      <driver name='qemu' type='${format}' discard='unmap'/>
      <source file='${file}'/>
      <target dev='${target}' bus='virtio'/>
    </disk>`

/** The definition of a domain that runs without a system, a network and a display. */
export const testDomainXml = (options: TestDomainOptions): string =>
  xml`<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>${options.name}</name>${options.uuid === undefined ? null : xml`<uuid>${options.uuid}</uuid>`}
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type>${options.os ?? null}</os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>${options.disks.map(diskXml)}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>${options.devices ?? null}
  </devices>${options.more ?? null}
  <qemu:commandline>
    <qemu:env name='LD_PRELOAD' value='${LINE_BUFFER}'/>
    <qemu:env name='_STDBUF_O' value='L'/>
  </qemu:commandline>
</domain>`.text

/** A domain of the daemon; `domain` is how libvirt's calls take it. */
export class TestDomain {
  readonly libvirt: TestLibvirt
  readonly options: TestDomainOptions
  readonly domain: LibvirtDomain

  constructor(libvirt: TestLibvirt, options: TestDomainOptions, domain: LibvirtDomain) {
    this.libvirt = libvirt
    this.options = options
    this.domain = domain
  }

  get name(): string {
    return this.domain.name
  }

  /** Starts it paused, as there is no system to run, unless `running`. */
  async start({ running = false } = {}): Promise<void> {
    await startDomain(this.libvirt.control, this.domain, !running)
  }

  /** Ends QEMU by libvirt: it stores persistent bitmaps. */
  async destroy(): Promise<void> {
    try {
      await destroyDomain(this.libvirt.control, this.domain)
    } catch (error) {
      // a daemon that just started is still taking the machine up, finds it dead by this call and then refuses the call
      if ((await this.libvirt.control.domainState(this.domain)).state !== 'shut-off') throw error
    }
  }

  async suspend(): Promise<void> {
    await suspendDomain(this.libvirt.control, this.domain)
  }

  async resume(): Promise<void> {
    await this.libvirt.control.resume(this.domain)
  }

  async setAutostart(autostart: boolean): Promise<void> {
    await setAutostart(this.libvirt.control, this.domain, autostart)
  }

  async undefine(): Promise<void> {
    await undefineDomain(this.libvirt.control, this.domain)
  }

  /** Of the running QEMU. */
  async pid(): Promise<number> {
    return Number(await readFile(path.join(this.libvirt.pidFolder, `${this.name}.pid`), 'utf8'))
  }

  /** Ends QEMU as a crash does, and waits until libvirt has noticed. */
  async kill9(): Promise<void> {
    process.kill(await this.pid(), 'SIGKILL')
    await eventually(async () => (await this.libvirt.control.domainState(this.domain)).state === 'shut-off')
  }

  /**
   * Moves the running domain to another daemon, which needs a host_uuid of its own and sees the same files; resolves with it
   * there when it has gone. Memory travels with at most `bandwidthMib` a second. With `keeps` its definition stays here too.
   */
  async migrateTo(other: TestLibvirt, { bandwidthMib = 1024, keeps = false } = {}): Promise<TestDomain> {
    const source = keeps ? [] : ['--undefinesource']
    const how = ['--live', '--persistent', ...source, '--unsafe', '--bandwidth', String(bandwidthMib)]
    const memory = path.join(other.folder, 'migration')
    // QEMU of the one connects to that of the other here
    const place = ['--migrateuri', `unix://${memory}`, '--desturi', other.uri]
    await this.libvirt.virsh('migrate', ...how, ...place, '--domain', this.name)
    const domain = await other.control.domainByUuid(this.domain.uuid)
    return new TestDomain(other, this.options, domain)
  }

  /** One `qemu-io` command against a disk, as the guest's device would do it; throws when the disk refuses. */
  async guestIo(target: string, command: string): Promise<void> {
    const place = this.options.disks.findIndex((disk) => disk.target === target)
    const refusal = await this.libvirt.deviceIo(this.domain, place, command)
    if (refusal !== null) throw new Error(`${command}: ${refusal}`)
  }

  async guestWrite(target: string, pattern: number, offset: number, length: number): Promise<void> {
    await this.guestIo(target, `write -P ${pattern} ${offset} ${length}`)
  }

  async guestZero(target: string, offset: number, length: number): Promise<void> {
    await this.guestIo(target, `write -z ${offset} ${length}`)
  }

  async guestDiscard(target: string, offset: number, length: number): Promise<void> {
    await this.guestIo(target, `discard ${offset} ${length}`)
  }
}

/** A running libvirtd: `uri` is for the code under test, `control` the test's own connection. */
export class TestLibvirt implements AsyncDisposable {
  readonly folder: string
  readonly mode: 'session' | 'system'
  readonly socket: string
  readonly uri: string
  /** Where its QEMUs leave their process ids and what they print. */
  readonly pidFolder: string
  readonly logFolder: string
  /** Whom its QEMUs run as; null for the user of the tests. */
  readonly owner: { readonly uid: number; readonly gid: number } | null
  readonly #capabilities: string
  readonly #detached: boolean
  /** Where what libvirt learned is kept; what the QEMUs' user may do is part of it. */
  #kept = ''
  #hidesKvm = false
  #process: ChildProcess | null = null
  #pid = 0
  #control: LibvirtConnection | null = null
  #errors: string[] = []

  constructor(folder: string, mode: 'session' | 'system', detached = false) {
    this.folder = folder
    this.mode = mode
    this.#detached = detached
    const session = mode === 'session'
    const ran = path.join(folder, session ? 'r/libvirt' : 'r')
    this.socket = path.join(ran, 'libvirt-sock')
    this.uri = `qemu:///${mode}?socket=${this.socket}`
    this.pidFolder = path.join(ran, session ? 'qemu/run' : 'qemu')
    this.logFolder = path.join(folder, session ? 'a/libvirt/qemu/log' : 'g/qemu')
    this.owner = session && process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : null
    this.#capabilities = path.join(folder, session ? 'a/libvirt/qemu/cache/capabilities' : 'a/qemu/capabilities')
  }

  get control(): LibvirtConnection {
    if (this.#control === null) throw new Error('libvirtd is not running')
    return this.#control
  }

  /** Of libvirtd. */
  get pid(): number {
    if (this.#process === null) throw new Error('libvirtd is not running')
    return this.#pid
  }

  /** Makes the folders; once. */
  async prepare({ libvirtdConf = '', qemuConf = '' }: Partial<TestLibvirtOptions>): Promise<void> {
    await chmod(this.folder, 0o755)
    this.#hidesKvm = /libvirt-qemu/.test(qemuConf)
    this.#kept = path.join(CAPABILITIES, `${this.mode}${this.#hidesKvm ? '-libvirt-qemu' : ''}`)
    const configured = path.join(this.folder, this.mode === 'session' ? 'c/libvirt' : 'c')
    // run, configuration, cache, data or library, log
    for (const place of ['r', 'c', 'a', 'd', 'g']) await this.#makeFolder(path.join(this.folder, place))
    if (this.mode === 'session') await this.#makeFolder(configured)
    await this.#write(path.join(configured, 'libvirtd.conf'), libvirtdConf + LIBVIRTD_CONF)
    const user = this.mode === 'session' ? '' : 'user = "root"\ngroup = "root"\n'
    await this.#write(path.join(configured, 'qemu.conf'), qemuConf + user + QEMU_CONF)
    if (this.mode === 'system') await this.#addUsers()
    await writeFile(path.join(this.folder, 'no-kvm'), '', { mode: 0 })
    // another user's may be closed to this one
    await this.#lendCapabilities().catch(() => undefined)
  }

  /** Starts the daemon; domains that run are taken up again. */
  async start(): Promise<void> {
    const child = this.mode === 'session' ? this.#spawnSession() : this.#spawnSystem()
    this.#process = child
    this.#pid = 0
    this.#errors = []
    child.stdout?.on('data', (chunk: Buffer) => void (this.#pid = Number(chunk.toString())))
    child.stderr?.on('data', (chunk: Buffer) => void this.#errors.push(chunk.toString()))
    this.#control = await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`libvirtd ended: ${this.#errors.join('')}`)
      return await LibvirtConnection.open({ uri: this.uri }).catch(() => null)
    })
  }

  /** Ends the daemon alone; the domains go on. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#process
    if (child === null) return
    this.#control?.close()
    this.#control = null
    this.#process = null
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    // no pid yet: the process that starts it
    process.kill(this.#pid === 0 ? child.pid! : this.#pid, signal)
    await exited
  }

  async restart(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.stop(signal)
    await this.start()
  }

  /** Makes the disks that are not there and defines a domain. */
  async define(options: TestDomainOptions): Promise<TestDomain> {
    for (const disk of options.disks) await this.makeDisk(disk)
    return new TestDomain(this, options, await defineDomain(this.control, testDomainXml(options)))
  }

  /** Defines a domain and starts it. */
  async startDomain(options: TestDomainOptions): Promise<TestDomain> {
    const domain = await this.define(options)
    await domain.start()
    return domain
  }

  /** Starts a domain that libvirt forgets with its end. */
  async startTransient(options: TestDomainOptions): Promise<TestDomain> {
    for (const disk of options.disks) await this.makeDisk(disk)
    return new TestDomain(this, options, await createTransient(this.control, testDomainXml(options)))
  }

  async makeDisk({ file, format, size }: TestDomainDisk): Promise<void> {
    if (!existsSync(file)) await run('qemu-img', ['create', '-q', '-f', format, file, String(size)])
    await this.give(file)
  }

  /** Gives files to the user of the daemon's QEMUs. */
  async give(...files: readonly string[]): Promise<void> {
    if (this.owner !== null) for (const file of files) await chown(file, this.owner.uid, this.owner.gid)
  }

  /** Runs virsh on this daemon; what it printed. */
  async virsh(...args: readonly string[]): Promise<string> {
    return await run('virsh', ['-c', this.uri, ...args])
  }

  /** Ends the daemon and every QEMU of its own; returns when they have gone. */
  /** One `qemu-io` command against the disk of this place, as the guest's device would do it; null, or why the disk refuses. */
  async deviceIo(domain: LibvirtDomain, place: number, command: string): Promise<string | null> {
    const log = path.join(this.logFolder, `${domain.name}.log`)
    const before = (await readFile(log, 'utf8')).length
    const line = `qemu-io -d /machine/peripheral/virtio-disk${place}/virtio-backend "${command}"`
    const said = await humanCommand(this.control, domain, line)
    if (said.trim() !== '') throw new Error(`${line}: ${said}`)
    // QEMU prints the outcome to its own output, and libvirt writes lines of its own between
    const lines = async (): Promise<string[]> =>
      (await readFile(log, 'utf8'))
        .slice(before)
        .split('\n')
        .filter((one) => !/^\d{4}-\d{2}-\d{2} /.test(one))
    const [outcome = ''] = await eventually(async () => {
      const found = await lines()
      return found.length > 1 && found
    })
    const refused = !/^(wrote|read|discard) (\d+)\/\2 bytes/.test(outcome)
    // two lines of figures follow bytes that are not as expected, and one anything that was done
    const more = outcome.startsWith('Pattern') ? 2 : refused ? 0 : 1
    await eventually(async () => (await lines()).length > 1 + more)
    return refused ? outcome : null
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // what is kept only saves time, and the folder may be another user's
    await this.#keepCapabilities().catch(() => undefined)
    await this.stop()
    const left = await processesOf(path.join(this.folder, 't'))
    for (const { pid } of left) process.kill(pid, 'SIGKILL')
    await eventually(async () => (await processesOf(path.join(this.folder, 't'))).length === 0)
  }

  #spawnSession(): ChildProcess {
    const at = (place: string): string => path.join(this.folder, place)
    const folders = {
      XDG_RUNTIME_DIR: at('r'),
      XDG_CONFIG_HOME: at('c'),
      XDG_CACHE_HOME: at('a'),
      XDG_DATA_HOME: at('d'),
    }
    const env = { ...process.env, ...folders, HOME: at('d'), TMPDIR: at('t') }
    const user =
      this.owner === null ? [] : ['setpriv', `--reuid=${this.owner.uid}`, `--regid=${this.owner.gid}`, '--clear-groups']
    return this.#spawn([...user, 'libvirtd'], env)
  }

  #spawnSystem(): ChildProcess {
    const script = `set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/libvirt /run/lock /var/lib/libvirt /var/cache/libvirt /var/log/libvirt /etc/libvirt
mount --bind r /run/libvirt
mount --bind c /etc/libvirt
mount --bind a /var/cache/libvirt
mount --bind d /var/lib/libvirt
mount --bind g /var/log/libvirt
mount --bind passwd /etc/passwd
mount --bind group /etc/group
${this.#hidesKvm ? HIDE_KVM : ''}
exec libvirtd`
    const env = { ...process.env, TMPDIR: path.join(this.folder, 't') }
    return this.#spawn(['unshare', '--mount', 'sh', '-c', script], env)
  }

  #spawn(command: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
    return spawn('perl', ['-e', COLLECTOR, PRCTL, ...command], {
      env,
      cwd: this.folder,
      detached: this.#detached,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  }

  async #makeFolder(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true })
    await this.give(folder)
  }

  async #write(file: string, text: string): Promise<void> {
    await writeFile(file, text)
    await this.give(file)
  }

  /** libvirt does not start without the user that Debian's package makes, even if it is told another. */
  async #addUsers(): Promise<void> {
    const users = { 'libvirt-qemu': QEMU_USER, varve: AGENT_USER }
    const passwd = Object.entries(users).map(([name, { uid, gid }]) => `${name}:x:${uid}:${gid}::/:/usr/sbin/nologin\n`)
    await writeFile(path.join(this.folder, 'passwd'), (await readFile('/etc/passwd', 'utf8')) + passwd.join(''))
    const group = `libvirt-qemu:x:${QEMU_USER.gid}:\nlibvirt:x:${LIBVIRT_GROUP}:varve\nvarve:x:${AGENT_USER.gid}:\n`
    await writeFile(path.join(this.folder, 'group'), (await readFile('/etc/group', 'utf8')) + group)
  }

  /** libvirt itself finds out whether what is kept is out of date. */
  async #lendCapabilities(): Promise<void> {
    if (!existsSync(this.#kept)) return
    for (let folder = path.dirname(this.#capabilities); folder !== this.folder; folder = path.dirname(folder)) {
      await this.#makeFolder(folder)
    }
    await this.#makeFolder(this.#capabilities)
    for (const name of await readdir(this.#kept)) {
      const copy = path.join(this.#capabilities, name)
      await copyFile(path.join(this.#kept, name), copy)
      await this.give(copy)
    }
  }

  async #keepCapabilities(): Promise<void> {
    if (!existsSync(this.#capabilities)) return
    await mkdir(this.#kept, { recursive: true })
    for (const name of await readdir(this.#capabilities)) {
      await copyFile(path.join(this.#capabilities, name), path.join(this.#kept, name))
    }
  }
}

/** Starts a daemon (about 0.3 s); `await using` ends it and its domains. */
export const startLibvirt = async (options: TestLibvirtOptions): Promise<TestLibvirt> => {
  const { folder, mode = 'session', detached = false, ...more } = options
  const libvirt = new TestLibvirt(folder, mode, detached)
  await libvirt.prepare(more)
  await libvirt.start()
  return libvirt
}

/** Does something as another user; the process is root again afterwards. */
export const asUser = async <T>(
  { uid, gid }: { readonly uid: number; readonly gid: number },
  groups: readonly number[],
  work: () => Promise<T>,
): Promise<T> => {
  const { setgroups, setegid, seteuid, getgroups } = process
  const before = getgroups!()
  setgroups!([...groups])
  setegid!(gid)
  seteuid!(uid)
  try {
    return await work()
  } finally {
    seteuid!(0)
    setegid!(0)
    setgroups!(before)
  }
}
