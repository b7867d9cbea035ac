"""Search: short trials that nominate the datasets which help a target, and full runs on other seeds that confirm them."""
