// Fetches Debian packages and unpacks them into a folder, without installing anything.
import { mkdir, readdir } from 'node:fs/promises'
import path from 'node:path'
import { run } from './run.ts'

/** What apt knows of one package that can be installed. */
export interface PackageRecord {
  readonly name: string
  readonly version: string
  /** Names of what it depends on; the first of several alternatives. */
  readonly depends: readonly string[]
}

const fieldOf = (stanza: string, name: string): string =>
  new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1]?.trim() ?? ''

const dependsOf = (field: string): string[] =>
  field
    .split(',')
    .map((alternatives) => /^\s*([a-z0-9][a-z0-9.+-]*)/.exec(alternatives)?.[1] ?? '')
    .filter((name) => name !== '')

const parseRecords = (text: string): PackageRecord[] =>
  text
    .split(/\n\n+/)
    .filter((stanza) => stanza.startsWith('Package: '))
    .map((stanza) => ({
      name: fieldOf(stanza, 'Package'),
      version: fieldOf(stanza, 'Version'),
      depends: dependsOf([fieldOf(stanza, 'Pre-Depends'), fieldOf(stanza, 'Depends')].join(',')),
    }))

const show = async (names: readonly string[]): Promise<PackageRecord[]> =>
  parseRecords(await run('apt-cache', ['show', '--no-all-versions', '--', ...names]).catch(() => ''))

/** The candidates of the named packages; fetches apt's lists first where they are missing, which needs root. */
export const lookUp = async (names: readonly string[]): Promise<PackageRecord[]> => {
  let found = await show(names)
  if (found.length < names.length) {
    await run('apt-get', ['update', '-q'])
    found = await show(names)
  }
  const missing = names.filter((name) => !found.some((record) => record.name === name))
  if (missing.length > 0) throw new Error(`apt does not know ${missing.join(', ')}`)
  return found
}

/** The records and every library package that they need, directly or through other libraries. */
export const withLibraries = async (records: readonly PackageRecord[]): Promise<PackageRecord[]> => {
  const all = new Map(records.map((record) => [record.name, record]))
  let next = [...all.values()]
  while (next.length > 0) {
    const wanted = next.flatMap((record) => record.depends).filter((name) => name.startsWith('lib') && !all.has(name))
    next = wanted.length === 0 ? [] : await show([...new Set(wanted)])
    for (const record of next) all.set(record.name, record)
  }
  return [...all.values()]
}

/** Downloads the packages into `folder` and unpacks all of them into `folder`/root; resolves to that path. */
export const downloadAndUnpack = async (packages: readonly PackageRecord[], folder: string): Promise<string> => {
  const root = path.join(folder, 'root')
  await mkdir(root, { recursive: true })
  const names = packages.map(({ name }) => name)
  const download = (): Promise<string> => run('apt-get', ['download', '-q', '--', ...names], { cwd: folder })
  await download().catch(async () => {
    // Lists that are older than the archive name files that are gone.
    await run('apt-get', ['update', '-q'])
    await download()
  })
  for (const file of await readdir(folder)) {
    if (file.endsWith('.deb')) await run('dpkg-deb', ['-x', path.join(folder, file), root])
  }
  return root
}
