// Where an enrolment token may come from, and what is said where there is none.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { readToken, TOKEN_VARIABLE, type TokenOptions } from '../../../agent/commands/token.ts'
import { startGateway } from '../../support/gateway.ts'
import { tempFolder } from '../../support/temp.ts'

const PROGRAM = fileURLToPath(new URL('../../../agent/main.ts', import.meta.url))

const from = (input: string, env: NodeJS.ProcessEnv = {}): { env: NodeJS.ProcessEnv; input: Readable } => ({
  env,
  input: Readable.from([input]),
})

test('from a file, standard input, the environment or the command line, with white space around it', async () => {
  await using temp = await tempFolder()
  const file = temp.join('token')
  await writeFile(file, ' a.b.c \n')
  const env = { [TOKEN_VARIABLE]: 'e.n.v\n' }
  const read = (options: TokenOptions): Promise<string> => readToken(options, from('i.n.p\n', env))
  expect(await read({ tokenFile: file })).toBe('a.b.c')
  expect(await read({ tokenFile: '-' })).toBe('i.n.p')
  expect(await read({ token: '-' })).toBe('i.n.p')
  expect(await read({ token: 'o.p.t' })).toBe('o.p.t')
  expect(await read({})).toBe('e.n.v')
})

test('none, two, or what is no token is refused with where it was looked for', async () => {
  await using temp = await tempFolder()
  const file = temp.join('token')
  const refused = async (options: TokenOptions, input = '', env: NodeJS.ProcessEnv = {}): Promise<string> =>
    readToken(options, from(input, env)).then(
      () => 'read',
      (error: { code: string; message: string }) => `${error.code} ${error.message}`,
    )
  expect(await refused({})).toMatch(/^PARAMS_INVALID .*--token-file.*VARVE_ENROLMENT_TOKEN/u)
  expect(await refused({ token: 'a', tokenFile: file })).toContain('once')
  expect(await refused({ tokenFile: file })).toContain(`${file}: there is no such file`)
  expect(await refused({ tokenFile: temp.path })).toContain('it is a folder')
  for (const [text, why] of [
    ['', 'empty'],
    [' \n', 'empty'],
    ['two words', 'not hold exactly one token'],
    ['x'.repeat(9000), 'not hold exactly one token'],
    ['x'.repeat(900_000), 'not hold exactly one token'],
  ] as const) {
    await writeFile(file, text)
    expect(await refused({ tokenFile: file })).toContain(why)
    expect(await refused({ token: '-' }, text)).toContain(why)
  }
  expect(await refused({}, '', { [TOKEN_VARIABLE]: '' })).toContain('empty')
})

test('a host enrols with a token of standard input, which stands in no list of processes', async () => {
  await using temp = await tempFolder()
  await using gateway = await startGateway({ folder: temp.join('data') })
  const config = temp.join('agent.toml')
  await writeFile(config, `gateway = "${gateway.url}"\nstate = "${temp.join('state')}"\n`)
  const args = [PROGRAM, 'enrol', '--gateway', gateway.url, '--token-file', '-', '--config', config, '--json']
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  let said = ''
  child.stdout.on('data', (part: Buffer) => void (said += part.toString()))
  child.stdin.end(`${await gateway.enrolmentToken()}\n`)
  const [code] = await once(child, 'close')
  expect(code).toBe(0)
  expect(JSON.parse(said)).toMatchObject({ tenant: 'acme', gateway: gateway.url })
})
