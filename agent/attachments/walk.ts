// The files of an attached folder, in order and within bounds; what is no file of it comes with a sentence.
import { readdir, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { whyNot } from './read.ts'
import { mayRead, notTheirs, type Reader } from './reader.ts'

/** Entries of a folder that are looked at, its subfolders' included. */
const ENTRIES_MAX = 4096

/** Deepest subfolder that is looked into. */
const DEPTH_MAX = 16

/** A file of the folder, or an entry that cannot be attached. */
export type Entry = { readonly name: string } & ({ readonly path: string } | { readonly missing: string })

interface Look {
  /** The folder itself, without links. */
  readonly root: string
  readonly reader: Reader | null
  entries: number
}

/** Names of a folder's entries, sorted; null for one that is no text, which no point can name. */
const namesIn = async (folder: string): Promise<(string | null)[]> => {
  const found = await readdir(folder, { encoding: 'buffer' })
  const decoder = new TextDecoder('utf-8', { fatal: true })
  return found
    .map((bytes) => {
      try {
        return decoder.decode(bytes)
      } catch {
        return null
      }
    })
    .sort((a, b) => (a === null ? 1 : b === null ? -1 : a < b ? -1 : 1))
}

/** What a symbolic link of the folder stands for: a file within it, or a sentence. */
const linked = async (look: Look, name: string, path: string): Promise<Entry> => {
  try {
    const target = await realpath(path)
    if (!target.startsWith(look.root === '/' ? '/' : `${look.root}/`))
      return { name, missing: `it is a symbolic link that leads out of the folder, to ${target}` }
    if ((await stat(target)).isDirectory())
      return { name, missing: 'it is a symbolic link to a folder within the folder, whose files are attached there' }
    return { name, path: target }
  } catch (error) {
    return { name, missing: `it is a symbolic link, and of what it leads to: ${whyNot(error)}` }
  }
}

async function* filesIn(look: Look, name: string, folder: string, depth: number): AsyncGenerator<Entry> {
  let names: (string | null)[]
  const { reader } = look
  try {
    if (reader !== null && !(await mayRead(reader, folder))) {
      yield { name, missing: notTheirs(reader) }
      return
    }
    names = await namesIn(folder)
  } catch (error) {
    yield { name, missing: whyNot(error) }
    return
  }
  const unnamed = names.filter((entry) => entry === null).length
  if (unnamed > 0) yield { name, missing: `${unnamed} of its entries have names that are no text in UTF-8` }
  for (const entry of names) {
    if (entry === null) continue
    if (++look.entries > ENTRIES_MAX) return
    yield* one(look, `${name}/${entry}`, join(folder, entry), depth)
  }
}

async function* one(look: Look, name: string, path: string, depth: number): AsyncGenerator<Entry> {
  try {
    const found = await stat(path, { bigint: true }).catch(() => null)
    if ((await realpath(path).catch(() => path)) !== path) yield await linked(look, name, path)
    else if (found?.isDirectory() !== true) yield { name, path }
    else if (depth < DEPTH_MAX) yield* filesIn(look, name, path, depth + 1)
    else yield { name, missing: `it lies ${DEPTH_MAX} folders deep, where no more are looked into` }
  } catch (error) {
    yield { name, missing: whyNot(error) }
  }
}

/** All files of a folder, as `name/…`. `root` is its path without links, `reader` who must be allowed to look into it. */
export async function* walkFolder(name: string, root: string, reader: Reader | null): AsyncGenerator<Entry> {
  const look: Look = { root, reader, entries: 0 }
  yield* filesIn(look, name, root, 1)
  if (look.entries > ENTRIES_MAX)
    yield { name, missing: `it has more than ${ENTRIES_MAX} entries, the others were left` }
}
