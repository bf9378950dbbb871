// Debian's Prometheus, which scrapes a gateway as an operator's would, and is asked over its own API.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, writeFile } from 'node:fs/promises'
import path from 'node:path'
import * as v from 'valibot'
import { freePort } from '../demo/service.ts'
import { eventually } from '../support/temp.ts'

export interface Scraped {
  readonly folder: string
  /** `HOST:PORT` of the gateway. */
  readonly target: string
  readonly token: string
}

const vector = v.object({
  status: v.literal('success'),
  data: v.object({
    result: v.array(v.object({ metric: v.record(v.string(), v.string()), value: v.tuple([v.number(), v.string()]) })),
  }),
})

const names = v.object({ status: v.literal('success'), data: v.array(v.string()) })

/** One series with its labels and its last value. */
export interface Sample {
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

const configOf = ({ target }: Scraped, tokenFile: string): string => `global:
  scrape_interval: 5s
  scrape_timeout: 5s
scrape_configs:
  - job_name: varve
    scheme: http
    authorization:
      type: Bearer
      credentials_file: ${tokenFile}
    static_configs:
      - targets: ['${target}']
`

export class Prometheus implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #url: string

  private constructor(child: ChildProcess, url: string) {
    this.#child = child
    this.#url = url
  }

  static async start(scraped: Scraped): Promise<Prometheus> {
    const folder = path.join(scraped.folder, 'prometheus')
    await mkdir(folder, { recursive: true })
    const [tokenFile, configFile] = [path.join(folder, 'token'), path.join(folder, 'prometheus.yml')]
    await writeFile(tokenFile, scraped.token, { mode: 0o600 })
    await writeFile(configFile, configOf(scraped, tokenFile))
    const listen = `127.0.0.1:${await freePort()}`
    await using log = await open(path.join(folder, 'log'), 'a')
    const args = [
      `--config.file=${configFile}`,
      `--storage.tsdb.path=${path.join(folder, 'data')}`,
      `--web.listen-address=${listen}`,
    ]
    const child = spawn('prometheus', args, { stdio: ['ignore', log.fd, log.fd] })
    await once(child, 'spawn')
    const started = new Prometheus(child, `http://${listen}`)
    await eventually(async () => {
      if (child.exitCode !== null) throw new Error(`Prometheus ended with ${child.exitCode}; see ${folder}/log`)
      return (await fetch(`${started.#url}/-/ready`).catch(() => null))?.ok
    })
    return started
  }

  /** What an expression gives now. */
  async query(expression: string): Promise<Sample[]> {
    const answer = await fetch(`${this.#url}/api/v1/query?query=${encodeURIComponent(expression)}`)
    const { data } = v.parse(vector, await answer.json())
    return data.result.map(({ metric, value: [, value] }) => ({ labels: metric, value: Number(value) }))
  }

  /** Names of all series that begin so. */
  async names(prefix: string): Promise<string[]> {
    const answer = await fetch(`${this.#url}/api/v1/label/__name__/values`)
    return v.parse(names, await answer.json()).data.filter((name) => name.startsWith(prefix))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGTERM')
    await ended
  }
}
