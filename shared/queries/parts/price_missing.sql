-- Condition on a request of unknown cost, read as `cost_reason`: the price table lacks a price that it needs.
match(cost_reason, '^(unknown_model|disputed_price|unpriced_(unit|tier|geo):)')
