// The machine and the programs that figures belong to.
import { readFile, statfs } from 'node:fs/promises'
import { arch, cpus, loadavg, release, totalmem } from 'node:os'
import path from 'node:path'
import { run } from '../rig/run.ts'

export interface Host {
  readonly cpu: string
  readonly cores: number
  readonly architecture: string
  readonly memoryBytes: number
  readonly system: string
  readonly kernel: string
  /** Of the folder where images, stores and restored files were. */
  readonly fileSystem: string
  /** Programs running or waiting in the minute before the start. */
  readonly loadBefore: number
  /** The commit measured, with `+` where files differed from it. */
  readonly commit: string
  readonly versions: Readonly<Record<string, string>>
}

/** Programs that a run needs, how each tells its version, and the Debian package that has it. */
const PROGRAMS: readonly { readonly name: string; readonly args: readonly string[]; readonly package: string }[] = [
  { name: 'qemu-system-x86_64', args: ['--version'], package: 'qemu-system-x86' },
  { name: 'qemu-img', args: ['--version'], package: 'qemu-utils' },
  { name: 'nbdcopy', args: ['--version'], package: 'libnbd-bin' },
  { name: 'zstd', args: ['--version'], package: 'zstd' },
  { name: 'restic', args: ['version'], package: 'restic' },
  { name: 'borg', args: ['--version'], package: 'borgbackup' },
  { name: 'libvirtd', args: ['--version'], package: 'libvirt-daemon' },
  { name: 'virtnbdbackup', args: ['--version'], package: 'virtnbdbackup' },
]

/** Needed too; they have no version of their own or no part in what is timed. */
const TOOLS: readonly { readonly name: string; readonly package: string }[] = [
  { name: 'virsh', package: 'libvirt-clients' },
  { name: 'nbdsh', package: 'python3-libnbd' },
  { name: 'mke2fs', package: 'e2fsprogs' },
  { name: 'cmp', package: 'diffutils' },
  { name: 'openssl', package: 'openssl' },
]

const root = path.resolve(import.meta.dirname, '../..')

const isInstalled = (program: string): Promise<boolean> =>
  run('sh', ['-c', 'command -v "$0"', program]).then(
    () => true,
    () => false,
  )

/** Throws with the packages to install when a program is missing. */
export const requirePrograms = async (): Promise<void> => {
  const needed = [...PROGRAMS, ...TOOLS]
  const present = await Promise.all(needed.map(({ name }) => isInstalled(name)))
  const missing = needed.filter((_, index) => present[index] !== true)
  if (missing.length > 0) throw new Error(`install these packages: ${missing.map((one) => one.package).join(' ')}`)
}

const versionOf = async (program: string, args: readonly string[]): Promise<string> => {
  const [line = ''] = (await run(program, args)).trim().split('\n')
  return /\d+(\.\d+)+/.exec(line)?.[0] ?? line
}

const systemName = async (): Promise<string> => {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(text)?.[1] ?? 'unknown'
}

const fileSystemOf = (folder: string): Promise<string> =>
  run('findmnt', ['-n', '-o', 'FSTYPE', '--target', folder]).then(
    (text) => text.trim(),
    () => 'unknown',
  )

const commitOf = async (): Promise<string> => {
  try {
    const commit = (await run('git', ['rev-parse', '--short=12', 'HEAD'], { cwd: root })).trim()
    const changed = (
      await run('git', ['status', '--porcelain', '--', 'protocol', 'agent', 'gateway'], { cwd: root })
    ).trim()
    return changed === '' ? commit : `${commit}+`
  } catch {
    return 'unknown'
  }
}

export const describeHost = async (folder: string): Promise<Host> => {
  const [cpu] = cpus()
  const versions: Record<string, string> = { node: process.versions.node }
  for (const { name, args } of PROGRAMS) versions[name] = await versionOf(name, args)
  return {
    cpu: cpu?.model ?? 'unknown',
    cores: cpus().length,
    architecture: arch(),
    memoryBytes: totalmem(),
    system: await systemName(),
    kernel: release(),
    fileSystem: await fileSystemOf(folder),
    loadBefore: Number((loadavg()[0] ?? 0).toFixed(2)),
    commit: await commitOf(),
    versions,
  }
}

const gibibytes = (count: number): string => `${(count / 2 ** 30).toFixed(1)} GiB`

/** Throws unless the folder's file system has so many bytes free. */
export const requireSpace = async (folder: string, bytes: number): Promise<void> => {
  const { bavail, bsize } = await statfs(folder)
  if (bavail * bsize >= bytes) return
  throw new Error(`${folder} has ${gibibytes(bavail * bsize)} free; this run needs ${gibibytes(bytes)}`)
}
