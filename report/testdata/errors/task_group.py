# want: KeyError: 'epoch'
import asyncio

async def work():
    return {}["epoch"]  # here

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(work())

asyncio.run(main())
