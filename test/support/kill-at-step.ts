// Loaded into a program (node --import), it kills the program right before or after its n-th step that changes names or files in
// a folder; VARVE_TEST_KILL holds `before` or `after`, n and the folder, with spaces between.
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'

const [, when = '', count = '', folder = ''] = /^(\w+) (\d+) (.+)$/su.exec(process.env['VARVE_TEST_KILL'] ?? '') ?? []

let steps = 0

type Call = (...args: readonly unknown[]) => Promise<unknown>

const changes = fs as unknown as Record<string, Call>

/** Whether a call changes something; an open one that makes a file does. */
const isChange = (name: string, args: readonly unknown[]): boolean =>
  (name !== 'open' || args[1] === 'wx') && args.some((arg) => typeof arg === 'string' && arg.startsWith(folder))

const die = async (): Promise<never> => {
  process.kill(process.pid, 'SIGKILL')
  return await new Promise(() => {})
}

for (const name of ['open', 'link', 'rename', 'rm', 'chmod', 'mkdir', 'rmdir']) {
  const call = changes[name]!
  changes[name] = async (...args) => {
    const isTurn = isChange(name, args) && ++steps === Number(count)
    if (isTurn && when === 'before') return await die()
    const result = await call.apply(fs, [...args])
    return isTurn ? await die() : result
  }
}
syncBuiltinESMExports()
