// The program's commands in processes of their own: what they print, their exit codes, and what they refuse.
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { EXIT } from '../../protocol/host/exit.ts'
import { tempFolder } from '../support/temp.ts'
import { decodePart } from './auth/test-authority.ts'
import { runGateway, runGatewayProgram, ServingGateway } from './program.ts'

test('every command explains itself', async () => {
  const commands = [
    [],
    ['serve'],
    ['tenant'],
    ['tenant', 'add'],
    ['tenant', 'list'],
    ['enrol'],
    ['token'],
    ['token', 'issue'],
  ]
  const more = [
    ['agent'],
    ['agent', 'list'],
    ['agent', 'revoke'],
    ['plan'],
    ['plan', 'set'],
    ['audit'],
    ['audit', 'list'],
    ['machine'],
    ['machine', 'events'],
    ['job'],
    ['point'],
    ['backup'],
  ]
  const keep = [['points'], ['hold'], ['prune'], ['gc'], ['verify'], ['usage'], ['repair']]
  for (const command of [...commands, ...more, ...keep]) {
    const { code, stdout, stderr } = await runGateway([...command, '--help'])
    expect([code, stderr]).toEqual([EXIT.ok, ''])
    expect(stdout).toMatch(/^Usage: varve-gateway/u)
  }
  const help = await runGatewayProgram(['--help'])
  expect(help).toMatchObject({ code: EXIT.ok, stdout: expect.stringContaining('serve') as string, stderr: '' })
  expect((await runGatewayProgram(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/u)
})

test('what is not an option, a role, a duration or a name ends with 2 and a word about it', async () => {
  const wrong = [
    ['fly'],
    ['serve', '--fast'],
    ['serve', '--log-level', 'loud'],
    ['tenant', 'add'],
    ['tenant', 'add', 'two words'],
    ['tenant', 'add', 'a', '--chunk-size', '5'],
    ['enrol', '--tenant', 'a', '--ttl', 'soon'],
    ['token', 'issue', '--tenant', 'a'],
    ['token', 'issue', '--tenant', 'a', '--role', 'agent'],
    ['plan', 'set', 'p', '--tenant', 'a', '--refuse-full', 'nonsense'],
  ]
  for (const args of wrong) {
    const { code, stdout, stderr } = await runGateway(args)
    expect([code, stdout]).toEqual([EXIT.usage, ''])
    expect(stderr).toContain('error:')
  }
  const untold = await runGatewayProgram(['enrol'])
  expect([untold.code, untold.stderr]).toEqual([
    EXIT.usage,
    'varve-gateway: name the tenant: --tenant NAME (PARAMS_INVALID)\n',
  ])
  for (const args of [
    ['fly', '--json'],
    [...wrong[4]!, '--json'],
    ['tenant', '--json'],
  ]) {
    const { code, stdout } = await runGateway(args)
    expect([code, JSON.parse(stdout)]).toMatchObject([EXIT.usage, { error: { code: 'PARAMS_INVALID', exit: 2 } }])
  }
})

test('a folder that is not there or cannot be one is named', async () => {
  await using temp = await tempFolder()
  const data = temp.join('nowhere')
  const missing = await runGateway(['tenant', 'list', '--data', data])
  expect(missing.code).toBe(EXIT.usage)
  expect(missing.stderr).toContain(data)
  const env = await runGateway(['tenant', 'list'], { VARVE_DATA: data })
  expect(env.stderr).toContain(data)
  const file = temp.join('file')
  await writeFile(file, '')
  const refused = await runGateway(['serve', '--data', file, '--listen', '127.0.0.1:0'])
  expect([refused.code, refused.stderr]).toEqual([EXIT.usage, expect.stringContaining('CONFIG_INVALID')])
  expect(refused.stderr).toContain(file)
  const listing = await runGateway(['tenant', 'list', '--data', file])
  expect([listing.code, listing.stderr]).toEqual([EXIT.usage, expect.stringContaining(file)])
})

test('in a folder without a catalog only serve and "tenant add" make one; the others name it and make nothing', async () => {
  await using temp = await tempFolder()
  const of = ['--tenant', 'acme']
  const commands = [
    ['tenant', 'list'],
    ['token', 'issue', ...of, '--role', 'viewer'],
    ['machine', 'group', 'db1', 'web', ...of],
    ['points', ...of],
    ['plan', 'list', ...of],
    ['prune', '--json'],
    ['verify', ...of],
    ['repair', '--check', '--json'],
    ['repair', '--rebuild', '--json'],
  ]
  for (const args of commands) {
    const { code, stdout, stderr } = await runGateway([...args, '--data', temp.path])
    expect([args, code]).toEqual([args, EXIT.usage])
    if (!args.includes('--json')) expect(stdout).toBe('')
    else expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'CONFIG_INVALID' } })
    expect(stderr).toMatch(/^varve-gateway: .*--data DIR \(CONFIG_INVALID\)\n$/u)
    expect(stderr).toContain(temp.path)
  }
  expect(await readdir(temp.path)).toEqual([])
  await runGateway(['tenant', 'add', 'acme', '--data', temp.path])
  expect((await runGateway(['tenant', 'list', '--data', temp.path])).stdout).toContain('acme')
  await rm(temp.join('catalog.db'))
  await mkdir(temp.join('packs', '11111111-1111-4111-8111-111111111111', '00'), { recursive: true })
  await writeFile(temp.join('packs', '11111111-1111-4111-8111-111111111111', '00', 'a.pack'), '')
  const lost = await runGateway(['tenant', 'add', 'acme', '--data', temp.path])
  expect([lost.code, lost.stderr]).toEqual([EXIT.refused, expect.stringContaining('CATALOG_MISSING')])
})

test('where there is no tenant yet, commands over all of them say so', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.path]
  await (await ServingGateway.start(at)).stop()
  for (const args of [['gc'], ['prune'], ['tenant', 'list']]) {
    const text = await runGateway([...args, ...at])
    expect(text).toEqual({ code: EXIT.ok, stdout: expect.stringContaining('no tenant yet') as string, stderr: '' })
    const json = { code: EXIT.ok, stdout: '{"tenants":[]}\n', stderr: '' }
    expect(await runGateway([...args, '--json', ...at])).toEqual(json)
  }
})

test('tenants are added once and listed, beside a running gateway and a stopped one', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  const at = ['--data', data]
  {
    await using gateway = await ServingGateway.start(at)
    const added = await runGatewayProgram(['tenant', 'add', 'acme', '--json', ...at])
    expect(JSON.parse(added.stdout)).toMatchObject({ tenant: { name: 'acme', chunkBytes: 65_536 } })
    const again = await runGateway(['tenant', 'add', 'acme', ...at])
    expect([again.code, again.stdout]).toEqual([EXIT.refused, ''])
    expect(again.stderr).toBe('varve-gateway: there is a tenant "acme" already (EXISTS)\n')
    const locked = await runGateway(['serve', '--listen', '127.0.0.1:0', ...at])
    expect([locked.code, locked.stdout]).toEqual([EXIT.refused, ''])
    expect(locked.stderr).toContain('STORE_LOCKED')
    expect(await gateway.stop('SIGTERM')).toMatchObject({ code: EXIT.ok })
  }
  expect((await runGatewayProgram(['tenant', 'add', 'zeta', '--chunk-size', '4', ...at])).stdout).toContain('zeta')
  const json = await runGateway(['tenant', 'list', '--json', ...at])
  const created = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T[\d:.]{12}Z$/u) as string
  expect(JSON.parse(json.stdout)).toMatchObject({
    tenants: [
      { name: 'acme', chunkBytes: 65_536, created, createdMs: expect.any(Number) as number },
      { name: 'zeta', chunkBytes: 4096 },
    ],
  })
  expect(json.stdout).not.toMatch(/key/iu)
  const table = (await runGateway(['tenant', 'list', ...at])).stdout.split('\n')
  expect(table[0]).toMatch(/^NAME +CHUNK +PACKS +HARD QUOTA +CREATED \(UTC\)$/u)
  expect(table[1]).toMatch(/^acme +64 KiB +/u)
})

test('token and enrol print the token alone, and it says what was asked', async () => {
  await using temp = await tempFolder()
  const at = ['--data', temp.path]
  await runGateway(['tenant', 'add', 'acme', ...at])
  expect((await runGateway(['token', 'issue', '--tenant', 'beta', '--role', 'viewer', ...at])).stderr).toContain(
    'NOT_FOUND',
  )
  const token = await runGateway([
    'token',
    'issue',
    '--tenant',
    'acme',
    '--role',
    'viewer',
    '--subject',
    'anna',
    '--ttl',
    '90s',
    ...at,
  ])
  expect([token.code, token.stderr]).toEqual([EXIT.ok, ''])
  expect(token.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/u)
  const claims = decodePart(token.stdout, 1)
  expect(claims).toMatchObject({ sub: 'anna', role: 'viewer' })
  expect(Number(claims['exp']) - Number(claims['iat'])).toBeGreaterThanOrEqual(90)
  expect(Number(claims['exp']) - Number(claims['iat'])).toBeLessThanOrEqual(91)
  const enrolment = await runGateway(['enrol', '--tenant', 'acme', ...at])
  expect(enrolment).toMatchObject({ code: EXIT.ok, stderr: '' })
  expect(enrolment.stdout).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+\n$/u)
  const long = await runGateway(['enrol', '--tenant', 'acme', '--ttl', '999d', ...at])
  expect([long.code, long.stdout]).toEqual([EXIT.usage, ''])
  const audit = await runGateway(['audit', 'check', ...at])
  expect(audit).toMatchObject({
    code: EXIT.ok,
    stdout: expect.stringMatching(/^The audit log is whole: \d+ entries\.$/mu) as string,
  })
  expect(JSON.parse((await runGateway(['audit', 'check', '--json', ...at])).stdout)).toEqual({
    entries: expect.any(Number) as number,
    brokenSeq: null,
  })
})

test('agents and machines of nobody are not found', async () => {
  await using temp = await tempFolder()
  const at = ['--tenant', 'acme', '--data', temp.path]
  await runGateway(['tenant', 'add', 'acme', '--data', temp.path])
  expect((await runGateway(['agent', 'list', '--json', ...at])).stdout).toBe('{"agents":[]}\n')
  const revoke = await runGateway(['agent', 'revoke', '00000000-0000-4000-8000-000000000000', ...at])
  expect([revoke.code, revoke.stderr]).toEqual([EXIT.failed, expect.stringContaining('NOT_FOUND')])
  const group = await runGateway(['machine', 'group', 'db1', 'web', ...at])
  expect([group.code, group.stderr]).toEqual([EXIT.failed, expect.stringContaining('there is no machine "db1"')])
})

test('what the program writes is for its own user alone, also in a folder that is open to all', async () => {
  await using temp = await tempFolder()
  const data = temp.join('data')
  await mkdir(data, { mode: 0o755 })
  await using _gateway = await ServingGateway.start(['--data', data])
  await runGatewayProgram(['tenant', 'add', 'acme', '--data', data])
  for (const name of ['catalog.db', 'catalog.db-wal', 'keys', 'gateway.sock'])
    expect([name, (await stat(temp.join('data', name))).mode & 0o077]).toEqual([name, 0])
})

test('whoever types a command of before is told the new one', async () => {
  for (const args of [['policy'], ['policy', 'db1', '--help'], ['retention', '--keep-last', '3', '--tenant', 'acme']]) {
    const { code, stdout, stderr } = await runGateway(args)
    expect([args, code, stdout]).toEqual([args, EXIT.usage, ''])
    expect(stderr).toMatch(/^varve-gateway: there is no command "(?:policy|retention)" any more: .*plan set/u)
  }
  expect((await runGateway(['--help'])).stdout).not.toMatch(/^ {2}(?:policy|retention)/mu)
})
