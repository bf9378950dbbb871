// What the agent's programs call themselves at the gateway.
import { VERSION } from '../../protocol/host/version.ts'

export const PROGRAM = `varve-agent/${VERSION}`
