// A command's way to its gateway: as the agent of this host, by its configuration, or with a person's token, from any host.
import { homedir } from 'node:os'
import path from 'node:path'
import { Option, type Command } from 'commander'
import { VarveError } from '../../protocol/errors.ts'
import { awayOf, PERSON_VARIABLES, type Away } from '../../protocol/host/person.ts'
import { CONFIG_DEFAULT } from '../config.ts'

/** The variable of the environment that stands in for --config. */
export const CONFIG_VARIABLE = 'VARVE_AGENT_CONFIG'

/** The gateway that a command's options select. */
export interface WayOptions {
  readonly config?: string
  readonly gateway?: string
  readonly tokenFile?: string
  readonly ca?: string
}

const wrong = (message: string): VarveError => new VarveError('PARAMS_INVALID', message)

/** The configuration's file, or the gateway that a person names; PARAMS_INVALID where both are named, or one lacks something. */
export const wayOf = (way: WayOptions, env: NodeJS.ProcessEnv = process.env): { readonly config: string } | Away => {
  const { config, tokenFile, ca } = way
  if (config !== undefined && way.gateway !== undefined)
    throw wrong('--config and --gateway exclude each other: give one')
  const gateway = way.gateway ?? (config === undefined ? env[PERSON_VARIABLES.gateway] || undefined : undefined)
  const named = env[CONFIG_VARIABLE] || undefined
  if (gateway === undefined) {
    if ((tokenFile ?? ca) !== undefined) throw wrong('--token-file and --ca go with --gateway URL')
    return { config: config ?? named ?? CONFIG_DEFAULT }
  }
  if (way.gateway === undefined && named !== undefined)
    throw wrong(`${CONFIG_VARIABLE} and ${PERSON_VARIABLES.gateway} are both set: give --config or --gateway`)
  return awayOf(gateway, way, env)
}

/** Where what a person's commands note of their work is, as the XDG base directories have it. */
export const personState = (env: NodeJS.ProcessEnv = process.env): string => {
  const { XDG_STATE_HOME: state = '' } = env
  return path.join(path.isAbsolute(state) ? state : path.join(homedir(), '.local/state'), 'varve')
}

const which = (flags: string, what: string): Option => new Option(flags, what).helpGroup('Which gateway:')

/** Adds the options that select a gateway behind a command's own. */
export const toGateway = (command: Command): Command =>
  command
    .addOption(
      which(
        '--config <file>',
        `that of this host's agent, by its configuration (default: ${CONFIG_DEFAULT}; ${CONFIG_VARIABLE})`,
      ),
    )
    .addOption(
      which(
        '--gateway <url>',
        `without an agent, with a person's token: such as wss://backup.example:8470 (${PERSON_VARIABLES.gateway})`,
      ),
    )
    .addOption(
      which(
        '--token-file <file>',
        `with --gateway: file with your token, "-" for standard input (${PERSON_VARIABLES.tokenFile})`,
      ),
    )
    .addOption(
      which('--ca <file>', `with --gateway: certificate authority of your own to trust, PEM (${PERSON_VARIABLES.ca})`),
    )
