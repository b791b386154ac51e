import type { FastifyReply, FastifyRequest, RouteGenericInterface } from 'fastify'
import type { Http2SecureServer, Http2Server } from 'node:http2'

/** A request of an HTTP/1 or HTTP/2 server. Fastify's types for the two are incompatible. */
export type AnyRequest =
  | FastifyRequest
  | FastifyRequest<RouteGenericInterface, Http2Server>
  | FastifyRequest<RouteGenericInterface, Http2SecureServer>

/** A reply of an HTTP/1 or HTTP/2 server. */
export type AnyReply =
  | FastifyReply
  | FastifyReply<RouteGenericInterface, Http2Server>
  | FastifyReply<RouteGenericInterface, Http2SecureServer>
