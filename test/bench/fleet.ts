// Many agents on one gateway: eight and more that upload at once, and a thousand that are only there.
import { idleAgents } from './fleet-idle.ts'
import { uploadsAtOnce } from './fleet-uploads.ts'
import { inParts } from './scenario.ts'

export const parts = { uploads: uploadsAtOnce, idle: idleAgents }

export const run = inParts(parts)
