// Where the program itself is, for scripts that call it.
import { fileURLToPath } from 'node:url'

export const AGENT_PROGRAM = fileURLToPath(new URL('../../varve-agent', import.meta.url))
