// The served certificate follows its files: when told, and by itself; what is wrong is refused and told.
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:tls'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { readCertificate, type Certificate } from '../../../gateway/server/certificate.ts'
import { CertificateKeeper, LOOK_INTERVAL_MS, WARN_INTERVAL_MS } from '../../../gateway/server/certificate-keeper.ts'
import { makeCertificate, type Pair } from '../../support/certificates.ts'
import { HandClock } from '../../support/hand-clock.ts'
import { eventually, tempFolder, type TempFolder } from '../../support/temp.ts'
import { ServingGateway } from '../program.ts'

const put = async (from: Pair, to: Pair): Promise<void> => {
  await copyFile(from.cert, to.cert)
  await copyFile(from.key, to.key)
}

interface Line {
  readonly level: number
  readonly msg: string
  readonly reason?: string
  readonly concern?: string
}

const keeping = async (temp: TempFolder, first: Pair) => {
  const files = { cert: temp.join('live.pem'), key: temp.join('live.key') }
  await put(first, files)
  const clock = new HandClock(Date.now())
  const lines: Line[] = []
  const served: Certificate[] = []
  const write = (line: string): void => void lines.push(JSON.parse(line) as Line)
  const keeper = new CertificateKeeper({
    files,
    served: await readCertificate(files),
    serve: (certificate) => void served.push(certificate),
    clock,
    log: pino({}, { write }),
  })
  /** Lets a minute pass, and what it brings come to its end. */
  const minute = async (): Promise<void> => {
    clock.advance(LOOK_INTERVAL_MS)
    await eventually(() => clock.waiting === 1)
  }
  return { files, clock, lines, served, keeper, minute }
}

test('new files are served by themselves; half of a pair is waited for, and what stays wrong is an error once', async () => {
  await using temp = await tempFolder()
  const one = await makeCertificate(temp.path, 'one')
  const two = await makeCertificate(temp.path, 'two')
  const { files, lines, served, keeper, minute } = await keeping(temp, one)
  using _ = keeper
  await minute()
  expect([served, lines]).toEqual([[], []])
  await copyFile(two.cert, files.cert)
  await minute()
  expect([served, lines]).toEqual([[], []])
  await copyFile(two.key, files.key)
  await minute()
  expect(served).toEqual([{ cert: await readFile(two.cert), key: await readFile(two.key) }])
  expect(lines.map(({ msg }) => msg)).toEqual([expect.stringContaining('new connections get the new one')])
  await writeFile(files.key, '')
  for (let looks = 0; looks < 4; looks++) await minute()
  const errors = lines.filter(({ level }) => level === 50)
  expect(errors).toMatchObject([
    { msg: expect.stringContaining('still served'), reason: expect.stringContaining('empty') },
  ])
  expect(served).toHaveLength(1)
})

test('told to, it says what came of it, each time; one that has expired takes no good one’s place', async () => {
  await using temp = await tempFolder()
  const one = await makeCertificate(temp.path, 'one')
  const old = await makeCertificate(temp.path, 'old', { fromDays: -9, toDays: -2 })
  const { files, lines, served, keeper } = await keeping(temp, one)
  using _ = keeper
  await keeper.reload()
  await put(old, files)
  await keeper.reload()
  await keeper.reload()
  expect(served).toEqual([])
  expect(lines).toMatchObject([
    { level: 30, msg: expect.stringContaining('it is unchanged') },
    { level: 50, reason: expect.stringContaining('it expired at') },
    { level: 50, reason: expect.stringContaining('it expired at') },
  ])
})

test('one near its end is warned of at the start and each day', async () => {
  await using temp = await tempFolder()
  const soon = await makeCertificate(temp.path, 'soon', { toDays: 5.5 })
  const { lines, clock, keeper, minute } = await keeping(temp, soon)
  using _ = keeper
  const concerns = (): unknown[] => lines.map(({ concern }) => concern)
  expect(concerns()).toEqual([expect.stringContaining('expires in 5 days')])
  await minute()
  expect(concerns()).toHaveLength(1)
  clock.advance(WARN_INTERVAL_MS)
  await eventually(() => concerns().length === 2)
  expect(concerns()[1]).toContain('expires in 4 days')
})

/** The common name that a new connection is shown. */
const shownAt = (url: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port: Number(new URL(url).port), rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN))
      socket.destroy()
    })
    socket.on('error', reject)
  })

test('SIGHUP ends no gateway: it serves the new certificate, refuses a wrong one, and open connections stay', async () => {
  await using temp = await tempFolder()
  const one = await makeCertificate(temp.path, 'one')
  const two = await makeCertificate(temp.path, 'two')
  const files = { cert: temp.join('live.pem'), key: temp.join('live.key') }
  await put(one, files)
  const tls = ['--tls-cert', files.cert, '--tls-key', files.key]
  await using gateway = await ServingGateway.start(['--data', temp.join('data'), ...tls])
  const open = connect({ host: '127.0.0.1', port: Number(new URL(gateway.url).port), rejectUnauthorized: false })
  open.on('error', () => {})
  await put(two, files)
  gateway.tell('SIGHUP')
  await eventually(async () => (await shownAt(gateway.url)) === 'two')
  await copyFile(one.key, files.key)
  gateway.tell('SIGHUP')
  await eventually(() => gateway.log.includes('does not belong to the certificate'))
  expect(await shownAt(gateway.url)).toBe('two')
  expect(open.destroyed).toBe(false)
  open.destroy()
  expect((await gateway.stop()).code).toBe(0)
})

test('SIGHUP ends no gateway that has no certificate either', async () => {
  await using temp = await tempFolder()
  await using gateway = await ServingGateway.start(['--data', temp.join('data')])
  gateway.tell('SIGHUP')
  await eventually(() => gateway.log.includes('need a restart'))
  expect((await gateway.stop()).code).toBe(0)
})
