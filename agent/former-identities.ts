// Identities that this host had before: kept in the state folder, so that no key is lost and their checkpoints count as
// this host's.
import { randomUUID } from 'node:crypto'
import { chmod, copyFile, open, readdir, readFile } from 'node:fs/promises'
import path from 'node:path'
import { syncFolder } from '../protocol/host/durable.ts'
import { makeFolder } from './make-folder.ts'

/** The folder of former identities in the state folder; each has a folder of its own there. */
export const FORMER_FOLDER = 'former'

/** Former identities that are looked at. */
const FORMER_MAX = 64

export const KEY_FILE = /^agent-([0-9a-f-]{36})(?:\.next)?\.key$/u
const AGENT_ID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u

/** The agent's id in a record, or a name of its own for one that cannot be read. */
const ownerOf = async (file: string): Promise<string> => {
  try {
    const { agentId } = JSON.parse(await readFile(file, 'utf8')) as { agentId?: unknown }
    if (typeof agentId === 'string' && AGENT_ID.test(agentId)) return agentId
  } catch {
    // a damaged record is kept too: a person may be able to mend it
  }
  return `damaged-${randomUUID()}`
}

const keep = async (state: string, name: string, owner: string): Promise<void> => {
  const folder = path.join(state, FORMER_FOLDER, owner)
  await makeFolder(folder, 0o700)
  const copy = path.join(folder, name)
  await copyFile(path.join(state, name), copy)
  await chmod(copy, 0o600)
  await using handle = await open(copy, 'r')
  await handle.sync()
  await syncFolder(folder)
}

/** Copies the record and every key but `newKey` to the folder of former identities, durably. */
export const keepFormer = async (state: string, record: string, newKey: string): Promise<void> => {
  const names = await readdir(state)
  if (names.includes(record)) await keep(state, record, await ownerOf(path.join(state, record)))
  for (const name of names) {
    const owner = KEY_FILE.exec(name)?.[1]
    if (owner !== undefined && name !== newKey) await keep(state, name, owner)
  }
  await syncFolder(state)
}

/** Ids of the agents that this host was before, and whose keys it has. */
export const formerAgents = async (state: string): Promise<string[]> => {
  const names = await readdir(path.join(state, FORMER_FOLDER)).catch(() => [])
  return names.filter((name) => AGENT_ID.test(name)).slice(0, FORMER_MAX)
}
