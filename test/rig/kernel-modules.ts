// Finds kernel modules with everything that they depend on, in the order in which they can be loaded.
import { readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { run } from './run.ts'

/** One module: its name with underscores, and its plain (not compressed) object file. */
export interface KernelModule {
  readonly name: string
  readonly data: Buffer
}

const MODULE_FILE = /^(.+)\.ko(\.xz|\.zst)?$/

const nameOf = (file: string): string | undefined => MODULE_FILE.exec(path.basename(file))?.[1]?.replaceAll('-', '_')

const load = async (file: string): Promise<Buffer> => {
  if (file.endsWith('.xz')) {
    await run('xz', ['-d', '-k', file])
    return readFile(file.slice(0, -'.xz'.length))
  }
  const data = await readFile(file)
  return file.endsWith('.zst') ? zstdDecompressSync(data) : data
}

/** The modules that a module's own `depends=` note names. */
const dependenciesOf = (data: Buffer): string[] => {
  const note = Buffer.from('\0depends=')
  const start = data.indexOf(note)
  if (start < 0) return []
  const text = data.toString('latin1', start + note.length, data.indexOf(0, start + note.length))
  return text === '' ? [] : text.split(',').map((name) => name.replaceAll('-', '_'))
}

/** The wanted modules and what they need, dependencies first; a name with no file is built into the kernel. */
export const collectModules = async (folder: string, wanted: readonly string[]): Promise<KernelModule[]> => {
  const files = new Map<string, string>()
  for (const file of await readdir(folder, { recursive: true })) {
    const name = nameOf(file)
    if (name !== undefined) files.set(name, path.join(folder, file))
  }
  const seen = new Set<string>()
  const ordered: KernelModule[] = []
  const visit = async (name: string): Promise<void> => {
    const file = files.get(name)
    if (file === undefined || seen.has(name)) return
    seen.add(name)
    const data = await load(file)
    for (const dependency of dependenciesOf(data)) await visit(dependency)
    ordered.push({ name, data })
  }
  for (const name of wanted) await visit(name)
  return ordered
}
