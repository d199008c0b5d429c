// Publishes one order to Reach with a plain AMQP client:
//
//   npm ci && node publish.js ORDER_NUMBER
//
// REACH_AMQP_URL and REACH_AMQP_EXCHANGE say where, as for Reach itself. Exits 0 once the broker has confirmed:
// from then on the event is safe. Running it twice with the same number sends one message: the id is the same.
"use strict";

const amqp = require("amqplib");

const url = process.env.REACH_AMQP_URL || "amqp://guest:guest@127.0.0.1:5672/";
const exchange = process.env.REACH_AMQP_EXCHANGE || "reach.events";

async function main(orderNumber) {
  const connection = await amqp.connect(url);
  try {
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => {}); // told again by the promise that fails
    await channel.checkExchange(exchange); // fails at once when Reach has never run on this broker
    const order = {
      order_number: orderNumber,
      table_number: "B07",
      total: 99.5, // yuan; a decimal string is as good
      order_time: "2026-02-20T12:31:00+08:00",
    };
    channel.publish(exchange, "order.created", Buffer.from(JSON.stringify(order)), {
      messageId: `till-7-${orderNumber}`,
      headers: { store_id: "s1" },
      contentType: "application/json",
      persistent: true,
    });
    await channel.waitForConfirms();
    console.log(`published till-7-${orderNumber}`);
  } finally {
    await connection.close();
  }
}

main(process.argv[2] || "A1002").catch((error) => {
  console.error(`not published: ${error.message}`);
  process.exitCode = 1;
});
