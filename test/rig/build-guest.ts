// Builds the test guest, a kernel and an initial file system made of Debian packages, and keeps it in a cache.
import { createHash } from 'node:crypto'
import { access, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import path from 'node:path'
import { writeCpio, type CpioEntry } from './cpio.ts'
import { downloadAndUnpack, lookUp, withLibraries, type PackageRecord } from './debian.ts'
import { collectModules } from './kernel-modules.ts'
import { run } from './run.ts'

export interface GuestImage {
  /** Path of the kernel. */
  readonly kernel: string
  /** Path of the initial file system. */
  readonly initrd: string
  /** True where both came from the cache. */
  readonly cached: boolean
}

const KERNEL_PACKAGE = 'linux-image-cloud-amd64'
const PROGRAM_PACKAGES = ['busybox-static', 'qemu-guest-agent', 'e2fsprogs']
const LIBRARY_FOLDER = 'lib/x86_64-linux-gnu'
const LOADER = 'lib64/ld-linux-x86-64.so.2'
const MODULES = ['virtio_pci', 'virtio_blk', 'virtio_console', 'crc32c_generic', 'ext4']
const APPLETS =
  'cat cut fstrim grep head insmod ln mkdir mount mv poweroff rm sh sha256sum sleep stat sync truncate umount'
/** The files of this folder that decide what the guest is made of. */
const RECIPE = ['build-guest.ts', 'cpio.ts', 'debian.ts', 'kernel-modules.ts', 'init.sh', 'workload.sh', 'verify.sh']
const SCRIPTS = { 'init.sh': 'init', 'workload.sh': 'workload.sh', 'verify.sh': 'verify.sh' }

const cacheFolder = (): string =>
  path.join(process.env['XDG_CACHE_HOME'] ?? path.join(homedir(), '.cache'), 'varve-rig')

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  )

/** Names what goes into the guest: the recipe's files and the versions of the packages that are named in it. */
const cacheKey = async (records: readonly PackageRecord[]): Promise<string> => {
  const hash = createHash('sha256')
  for (const file of RECIPE) {
    hash.update(file).update(await readFile(path.join(import.meta.dirname, file)))
  }
  for (const { name, version } of records) hash.update(`${name}=${version}\n`)
  return hash.digest('hex').slice(0, 24)
}

/** The first of the paths that exists below `root`; Debian moves files between / and /usr. */
const locate = async (root: string, ...candidates: string[]): Promise<string> => {
  for (const candidate of candidates.flatMap((name) => [name, `usr/${name}`])) {
    if (await exists(path.join(root, candidate))) return path.join(root, candidate)
  }
  throw new Error(`none of the packages holds ${candidates.join(' or ')}`)
}

/** The shared libraries that the programs load, found by the unpacked loader so that none comes from this machine. */
const librariesOf = async (root: string, programs: readonly string[]): Promise<string[]> => {
  const loader = await locate(root, LOADER, `${LIBRARY_FOLDER}/ld-linux-x86-64.so.2`)
  const search = ['', 'usr/'].map((prefix) => path.join(root, prefix, LIBRARY_FOLDER)).join(':')
  const found = new Set<string>()
  for (const program of programs) {
    const listing = await run(loader, ['--inhibit-cache', '--library-path', search, '--list', program])
    for (const match of listing.matchAll(/=> (\/\S+)/g)) found.add(match[1] ?? '')
  }
  return [...found].sort()
}

const file = async (name: string, source: string, executable = true): Promise<CpioEntry> => ({
  kind: 'file',
  path: name,
  data: await readFile(source),
  executable,
})

const programEntries = async (root: string): Promise<CpioEntry[]> => {
  const programs = {
    'bin/qemu-ga': await locate(root, 'sbin/qemu-ga', 'bin/qemu-ga'),
    'bin/mke2fs': await locate(root, 'sbin/mke2fs'),
  }
  const entries = [await file('bin/busybox', await locate(root, 'bin/busybox'))]
  for (const applet of APPLETS.split(' ')) entries.push({ kind: 'link', path: `bin/${applet}`, target: 'busybox' })
  for (const [name, source] of Object.entries(programs)) entries.push(await file(name, source))
  for (const library of await librariesOf(root, Object.values(programs))) {
    entries.push(await file(`${LIBRARY_FOLDER}/${path.basename(library)}`, library))
  }
  entries.push(await file(LOADER, await locate(root, LOADER, `${LIBRARY_FOLDER}/ld-linux-x86-64.so.2`)))
  entries.push(await file('etc/mke2fs.conf', await locate(root, 'etc/mke2fs.conf'), false))
  return entries
}

const moduleEntries = async (root: string): Promise<CpioEntry[]> => {
  const folder = await locate(root, 'lib/modules')
  const modules = await collectModules(folder, MODULES)
  const order = modules.map(({ name }) => `${name}\n`).join('')
  return [
    ...modules.map(({ name, data }): CpioEntry => ({ kind: 'file', path: `modules/${name}.ko`, data })),
    { kind: 'file', path: 'modules/order', data: Buffer.from(order) },
  ]
}

const initrdOf = async (root: string): Promise<Buffer> => {
  const folders = ['bin', 'data', 'dev', 'etc', 'lib', LIBRARY_FOLDER, 'lib64', 'modules', 'proc', 'run', 'sys', 'tmp']
  const scripts = Object.entries(SCRIPTS).map(([source, name]) => file(name, path.join(import.meta.dirname, source)))
  return writeCpio([
    ...folders.map((name): CpioEntry => ({ kind: 'folder', path: name })),
    ...(await programEntries(root)),
    ...(await moduleEntries(root)),
    ...(await Promise.all(scripts)),
  ])
}

const build = async (records: readonly PackageRecord[], target: string): Promise<void> => {
  const work = await mkdtemp(path.join(tmpdir(), 'varve-rig-'))
  try {
    const meta = records.find(({ name }) => name === KERNEL_PACKAGE)
    const kernels = await lookUp((meta?.depends ?? []).filter((name) => name.startsWith('linux-image-')))
    const programs = await withLibraries(records.filter(({ name }) => name !== KERNEL_PACKAGE))
    const root = await downloadAndUnpack([...kernels, ...programs], work)
    const kernel = (await readdir(path.join(root, 'boot'))).find((name) => name.startsWith('vmlinuz-'))
    if (kernel === undefined) throw new Error(`the package ${KERNEL_PACKAGE} brought no kernel`)
    const made = path.join(work, 'made')
    await mkdir(made)
    await cp(path.join(root, 'boot', kernel), path.join(made, 'vmlinuz'))
    await writeFile(path.join(made, 'initrd.cpio'), await initrdOf(root))
    await place(made, target)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Moves a finished folder into the cache, which may be on another file system; a copy made meanwhile wins. */
const place = async (made: string, target: string): Promise<void> => {
  await mkdir(path.dirname(target), { recursive: true })
  const near = await mkdtemp(`${target}.`)
  await cp(made, near, { recursive: true })
  await rename(near, target).catch(async (error: unknown) => {
    await rm(near, { recursive: true, force: true })
    if (!(await exists(path.join(target, 'initrd.cpio')))) throw error
  })
}

/** The test guest of this recipe and today's packages; about 10 seconds and 20 MB of download when not yet cached. */
export const buildGuest = async (): Promise<GuestImage> => {
  if (process.arch !== 'x64') throw new Error('the test guest is built for amd64 only')
  const records = await lookUp([KERNEL_PACKAGE, ...PROGRAM_PACKAGES])
  const target = path.join(cacheFolder(), await cacheKey(records))
  const cached = await exists(path.join(target, 'initrd.cpio'))
  if (!cached) await build(records, target)
  return { kernel: path.join(target, 'vmlinuz'), initrd: path.join(target, 'initrd.cpio'), cached }
}
