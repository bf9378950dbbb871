// The port that the page names, replaced by one that is free: the one thing in its text that a test changes.
import { createServer, type AddressInfo } from 'node:net'

const PORT = /\b8470\b/gu

export const onPort = (text: string, port: number): string => text.replaceAll(PORT, String(port))

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
