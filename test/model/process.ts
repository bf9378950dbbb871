// Runs one life as a program and gives what it said; what is left of it afterwards is what it wrote.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Fact, LifePlan } from './plan.ts'

/** Longest time that a life may take, in milliseconds; one that takes longer hangs. On an idle machine it is a second. */
const LIFE_TIMEOUT_MS = 240_000

/** Of what a life complained about, in characters. */
const ERRORS_CHARS_MAX = 4096

const LIFE = new URL('life.ts', import.meta.url).pathname
const ARM = new URL('arm.ts', import.meta.url).href

/** Lives the plan to its end or to a fault; `failure` says what went wrong with the program itself. */
export const runLife = async (plan: LifePlan): Promise<{ facts: Fact[]; failure: string | null }> => {
  const file = `${plan.journal}.plan`
  writeFileSync(plan.journal, '')
  writeFileSync(file, JSON.stringify(plan))
  const child = spawn(process.execPath, ['--import', ARM, LIFE, file], { stdio: ['pipe', 'ignore', 'pipe'] })
  // open for as long as we live: a life does not go on alone
  child.stdin.on('error', () => {})
  let errors = ''
  child.stderr.on('data', (data: Buffer) => (errors = (errors + data.toString()).slice(-ERRORS_CHARS_MAX)))
  let hangs = false
  const timer = setTimeout(() => {
    hangs = true
    child.kill('SIGKILL')
  }, LIFE_TIMEOUT_MS)
  const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  clearTimeout(timer)
  const lines = readFileSync(plan.journal, 'utf8').split('\n')
  const facts = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as Fact)
  const well = status === 0 || signal === 'SIGKILL'
  const failure = hangs ? 'it hangs' : well ? null : `status ${status} ${signal}: ${errors}`
  return { facts, failure }
}
