// The tests of the stores once more, with all of the contract on every kind of client.
process.env['EVERY_CLIENT'] = '1'
await import('../stores.test.ts')

export {}
