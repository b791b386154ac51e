// The tests in a browser once more, with a picture of every page, and on more phones.
process.env['SCREENSHOTS'] = '1'
await import('../ci/browser.test.ts')

export {}
